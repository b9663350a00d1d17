// Pure. The table behind `authority.yaml`: every key with its form, its default and what it is for.
import { listenAddress, localAddress } from "@culvert/shared/config/process/listen-schema.ts";
import { isDnsName } from "@culvert/shared/config/names.ts";
import { path } from "@culvert/shared/config/process/path-schema.ts";
import { duration, text } from "@culvert/shared/config/process/scalars.ts";
import {
  defaulted,
  exactlyOneKey,
  listOf,
  objectOf,
  oneOf,
  optional,
  orOff,
  refine,
  required,
  scalar,
  section,
} from "@culvert/shared/config/process/schema.ts";
import type { Schema } from "@culvert/shared/config/process/schema.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import type { ListenAddress, UnixAddress } from "@culvert/shared/net/listen-address.ts";
import { splitHostPort } from "@culvert/shared/net/listen-address.ts";
import type { LogLevel } from "@culvert/shared/observe/log.ts";
import { MAX_SVID_LIFE_MS, MIN_SVID_LIFE_MS } from "../ca/certificate-authority.ts";

/** How tokens of Kubernetes service accounts are checked. */
export type KubernetesConfig =
  | { readonly kind: "jwks"; readonly jwks: string; readonly issuer: string; readonly audience: string }
  | {
      readonly kind: "tokenReview";
      readonly server: { readonly host: string; readonly port: number };
      readonly ca: string;
      readonly token: string;
      readonly audience: string;
    };

/** `authority.yaml`. Durations are milliseconds. A listener that is `undefined` is switched off. */
export interface AuthorityConfig {
  readonly folder: string;
  readonly listen: ListenAddress;
  readonly names: readonly string[];
  readonly lifeMs: number;
  readonly maxLifeMs: number;
  readonly kubernetes: KubernetesConfig | undefined;
  /** Where the resources are that proxies are told of; undefined: they are told of none. */
  readonly resources: { readonly files: string } | undefined;
  readonly admin: ListenAddress | UnixAddress | undefined;
  readonly readiness: ListenAddress | undefined;
  readonly metrics: ListenAddress | undefined;
  readonly drain: { readonly timeoutMs: number };
  readonly log: { readonly level: LogLevel };
}

/** Where Kubernetes mounts what a pod needs to speak to the API server. */
const MOUNTED = "/var/run/secrets/kubernetes.io/serviceaccount";

const life: Schema<number> = refine(duration, (value, refuse) =>
  value >= MIN_SVID_LIFE_MS && value <= MAX_SVID_LIFE_MS ? value : refuse("expected 1m to 2160h (90 days)"),
);

const server = scalar("https://host or https://host:port", (value) => {
  const [, authority = ""] = typeof value === "string" ? (/^https:\/\/([^/?#@]+)\/?$/.exec(value) ?? []) : [];
  const parts = splitHostPort(authority) ?? splitHostPort(`${authority}:443`);
  return parts === undefined || parts.host === "" || parts.port === 0 ? undefined : parts;
});

const kubernetes: Schema<KubernetesConfig> = refine(
  exactlyOneKey(
    objectOf({
      jwks: optional(path, "file with the cluster's public keys, as `kubectl get --raw /openid/v1/jwks` prints them"),
      tokenReview: optional(
        objectOf({
          server: defaulted(server, "https://kubernetes.default.svc", "the API server"),
          ca: defaulted(path, `${MOUNTED}/ca.crt`, "roots that it must chain to, PEM"),
          token: defaulted(path, `${MOUNTED}/token`, "file with our own token, which may make TokenReviews"),
        }),
        "tokens are checked by the API server, which also knows what was deleted",
      ),
      issuer: optional(
        text("text", (value) => value !== ""),
        "issuer of the tokens, with `jwks`",
      ),
      audience: required(
        text("text", (value) => value !== ""),
        "audience that tokens must be made for, such as `istio-ca`",
      ),
    }),
    ["issuer", "audience"],
  ),
  ({ jwks, tokenReview, issuer, audience }, refuse) => {
    if (tokenReview !== undefined) {
      return issuer === undefined
        ? { kind: "tokenReview", ...tokenReview, audience }
        : refuse("issuer goes with jwks; the API server knows its own");
    }
    if (issuer === undefined) return refuse("jwks needs issuer: whose tokens they are");
    return { kind: "jwks", jwks: jwks ?? "", issuer, audience };
  },
);

const names: Schema<readonly string[]> = refine(
  listOf(text("DNS name or IP address", (value) => isDnsName(value) || parseIp(value) !== undefined)),
  (list, refuse) => (list.length > 0 ? list : refuse("expected at least one name")),
);

/** `authority.yaml`. */
export const AUTHORITY_SCHEMA: Schema<AuthorityConfig> = refine(
  objectOf({
    folder: required(path, "folder of the authority, as `authority init` makes it"),
    listen: defaulted(listenAddress, ":15012", "where certificates are asked for, gRPC over TLS"),
    names: required(names, "names and addresses by which callers dial: they stand in the authority's own certificate"),
    life: defaulted(life, "24h", "life of a certificate when the caller has no wish"),
    maxLife: defaulted(life, "24h", "longest life, whatever the caller wishes"),
    kubernetes: optional(
      kubernetes,
      "tokens of Kubernetes service accounts prove identities too: exactly one of the two ways",
    ),
    resources: optional(
      objectOf({
        files: required(path, "folder of resources, watched: `*.yaml`, `*.yml` and `*.json`, one level of folders"),
      }),
      "what uproxies and waypoints are told of the mesh, each what concerns it (docs/configuration-stream.md)",
    ),
    admin: defaulted(
      orOff(localAddress),
      "127.0.0.1:15000",
      "admin: log level, clients of the configuration stream, drain",
    ),
    readiness: defaulted(orOff(listenAddress), ":15021", "readiness and liveness"),
    metrics: defaulted(orOff(listenAddress), ":15020", "Prometheus metrics"),
    drain: section(
      refine(
        objectOf({ timeout: defaulted(duration, "25s", "how long calls may go on after SIGTERM") }),
        ({ timeout }) => ({ timeoutMs: timeout }),
      ),
      "the end of the process",
    ),
    log: section(
      objectOf({
        level: defaulted(
          oneOf("debug", "info", "warn", "error"),
          "info",
          "least level that is written; the audit is written always",
        ),
        format: defaulted(oneOf("json"), "json", "form of a line"),
      }),
      "the log on stdout",
    ),
  }),
  ({ life: lifeMs, maxLife: maxLifeMs, ...rest }, refuse) =>
    lifeMs > maxLifeMs ? refuse("life is longer than maxLife") : { ...rest, lifeMs, maxLifeMs },
);
