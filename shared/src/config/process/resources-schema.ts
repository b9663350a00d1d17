// Pure. The keys of `resources`: where the mesh resources come from.
import { isDnsName } from "../names.ts";
import { path } from "./path-schema.ts";
import type { ResourcesConfig } from "./process-config.ts";
import { server, text } from "./scalars.ts";
import { exactlyOneKey, INVALID, notYet, objectOf, optional, refine, required, type Schema } from "./schema.ts";

// No token: whoever may read resources has a certificate, which says more, and is shown to nobody who could use it.
const authority = objectOf({
  address: required(server, "where it listens"),
  bundle: optional(
    path,
    "roots that its own certificate must chain to, PEM; without it those of the own trust domain count alone",
  ),
  serverName: optional(text("DNS name", isDnsName), "the name in its certificate; without it: the host of `address`"),
});

const istiod = objectOf({
  address: required(server, "where it listens"),
  bundle: optional(path, "roots that it must chain to, PEM"),
  token: optional(path, "file with the token that it wants"),
});

/** `resources`. */
export const RESOURCES_SCHEMA: Schema<ResourcesConfig> = refine(
  exactlyOneKey(
    objectOf({
      files: optional(path, "a folder of YAML and JSON files, watched"),
      authority: optional(
        authority,
        "Culvert's authority, which is shown the own certificate and sends what that may know",
      ),
      istiod: optional(notYet(istiod, "use files or authority"), "Istio's discovery service"),
      lastGood: optional(
        path,
        "file that keeps the last good resources: they are served when the source cannot be used at a start",
      ),
    }),
    ["lastGood"],
  ),
  ({ files, authority: remote, lastGood }): ResourcesConfig | typeof INVALID => {
    if (files !== undefined) return { kind: "files", folder: files, lastGood };
    return remote === undefined ? INVALID : { kind: "authority", ...remote, lastGood };
  },
);
