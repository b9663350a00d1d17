// Pure. The keys of `identity`: where the own certificate comes from, and whom to trust beside what it brings.
import { isFailure } from "../../failure/failure.ts";
import { parseTrustDomain } from "../../identity/spiffe-id.ts";
import { isDnsName } from "../names.ts";
import { isTrustDomain, path } from "./path-schema.ts";
import type { IdentityConfig, RemoteAuthority } from "./process-config.ts";
import { duration, server, text } from "./scalars.ts";
import {
  defaulted,
  either,
  exactlyOneKey,
  INVALID,
  objectOf,
  optional,
  recordOf,
  refine,
  required,
  scalar,
  type Key,
  type Schema,
} from "./schema.ts";
import { TRUST_KEYS, trustOf } from "./trust-schema.ts";

const MINUTE_MS = 60_000;
const MAX_LIFE_MS = 90 * 24 * 60 * MINUTE_MS;

const identityFiles = refine(
  either(
    path,
    objectOf({
      certificate: required(path, "certificate chain, PEM, leaf first"),
      key: required(path, "private key, PEM, mode 0600"),
      bundles: required(recordOf("trust domain", isTrustDomain, path), "roots of each trust domain, PEM"),
    }),
  ),
  (location) =>
    typeof location === "string" ? location : { ...location, bundles: Object.fromEntries(location.bundles) },
);

/** Longest path of a UNIX socket, in bytes (`sun_path`): a longer one can never be reached. */
const MAX_SOCKET_PATH = 107;

const socketUri = scalar(`unix:///path of at most ${MAX_SOCKET_PATH} bytes`, (value) => {
  const socket = /^unix:\/\/(\/[^\0]+)$/.exec(String(value))?.[1] ?? "";
  return socket !== "" && Buffer.byteLength(socket) <= MAX_SOCKET_PATH ? socket : undefined;
});

const workloadApi = refine(
  either(
    socketUri,
    objectOf({
      socket: required(socketUri, "socket of the agent"),
      hint: optional(
        text("hint", (value) => value !== ""),
        "which identity to take where the agent has several for us; without it: the first",
      ),
    }),
  ),
  (value) => (typeof value === "string" ? { socket: value, hint: undefined } : value),
);

const life: Schema<number> = refine(duration, (value, refuse) =>
  value >= MINUTE_MS && value <= MAX_LIFE_MS ? value : refuse("expected from 1m to 90d (2160h)"),
);

const REMOTE: { readonly [K in keyof RemoteAuthority]: Key<RemoteAuthority[K]> } = {
  address: required(server, "where it listens"),
  bundle: required(path, "roots that its own certificate must chain to, PEM"),
  serverName: optional(text("DNS name", isDnsName), "the name in its certificate; without it: the host of `address`"),
  store: optional(
    path,
    "file that keeps the last certificate and key, mode 0600: a restart then needs neither a new token nor the authority",
  ),
  life: defaulted(life, "24h", "validity to ask for; the authority may give less"),
};

const trustDomain = text("trust domain", (value) => !isFailure(parseTrustDomain(value)));

/** `identity`. */
export const IDENTITY_SCHEMA: Schema<IdentityConfig> = refine(
  exactlyOneKey(
    objectOf({
      files: optional(identityFiles, "a folder in one of the layouts below, or its files one by one"),
      workloadApi: optional(workloadApi, "socket of a SPIFFE Workload API, such as SPIRE's agent"),
      authority: optional(
        objectOf({
          ...REMOTE,
          token: optional(path, "file with a join token or a Kubernetes service account token"),
        }),
        "Culvert's authority",
      ),
      istiod: optional(
        objectOf({
          ...REMOTE,
          token: required(path, "file with the Kubernetes service account token, read anew each time"),
          trustDomain: defaulted(trustDomain, "cluster.local", "the mesh's trust domain"),
        }),
        "Istio's certificate service",
      ),
      ...TRUST_KEYS,
    }),
    Object.keys(TRUST_KEYS),
  ),
  ({ files, workloadApi: agent, authority, istiod, ...keys }): IdentityConfig | typeof INVALID => {
    const given = trustOf(keys);
    const trust = given === undefined ? {} : { trust: given };
    if (files !== undefined) return { kind: "files", location: files, ...trust };
    if (agent !== undefined) return { kind: "workloadApi", ...agent, ...trust };
    if (authority !== undefined) return { kind: "authority", ...authority, ...trust };
    return istiod === undefined ? INVALID : { kind: "istiod", ...istiod, ...trust };
  },
);
