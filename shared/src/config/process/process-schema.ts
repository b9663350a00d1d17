// Pure. The tables behind `uproxy.yaml` and `waypoint.yaml`: every key with its form, its default and what it is for.
import { parseHost } from "../../net/listen-address.ts";
import { parseIp } from "../../net/ip.ts";
import { CAPTURE_SCHEMA } from "./capture-schema.ts";
import { dnsProxy } from "./dns-schema.ts";
import { LIMITS_SCHEMA } from "./limits-schema.ts";
import {
  explicitListener,
  listenAddress,
  localAddress,
  loopbackUnlessAllowed,
  proxyListener,
} from "./listen-schema.ts";
import { isDnsLabel, isDnsName } from "../names.ts";
import { IDENTITY_SCHEMA } from "./identity-schema.ts";
import { path } from "./path-schema.ts";
import type { AccessLogChoice, CommonConfig, UproxyConfig, WaypointConfig } from "./process-config.ts";
import { RESOURCES_SCHEMA } from "./resources-schema.ts";
import {
  defaulted,
  integer,
  flag,
  listOf,
  notYet,
  objectOf,
  oneOf,
  oneOrMore,
  optional,
  orOff,
  refine,
  required,
  scalar,
  section,
  type Key,
  type Schema,
} from "./schema.ts";
import { duration, size, text } from "./scalars.ts";

const namespaceName = text("namespace (DNS label)", isDnsLabel);
const resourceName = text("resource name", isDnsName);

const share = (value: string | number | boolean): number | undefined => {
  const number = typeof value === "string" && /^\d(\.\d{1,9})?$/.test(value) ? Number(value) : value;
  return typeof number === "number" && number >= 0 && number <= 1 ? number : undefined;
};

const accessLog: Schema<AccessLogChoice> = scalar("all | failures | off | fraction such as 0.01", (value) => {
  if (value === "all" || value === "failures") return value;
  return value === "off" || value === false ? "off" : share(value);
});

/** RFC 9110 section 7.8: a name, and perhaps a version. HTTP/2 is spoken from the start or not at all. */
const upgradeProtocol: Schema<string> = scalar("protocol such as websocket, and not h2c", (value) => {
  const name = typeof value === "string" ? value.toLowerCase() : "";
  return /^[a-z0-9.+_-]{1,32}(?:\/[a-z0-9.+_-]{1,32})?$/.test(name) && name !== "h2c" ? name : undefined;
});

const common: { readonly [K in keyof CommonConfig]: Key<CommonConfig[K]> } = {
  identity: required(
    IDENTITY_SCHEMA,
    "where the own certificate comes from: exactly one of files, workloadApi, authority, istiod",
  ),
  resources: required(RESOURCES_SCHEMA, "where the mesh resources come from: exactly one of these"),
  admin: defaulted(orOff(localAddress), "127.0.0.1:15000", "admin: config dump, explain, log level, drain"),
  readiness: defaulted(orOff(listenAddress), ":15021", "readiness and liveness"),
  metrics: defaulted(orOff(listenAddress), ":15020", "Prometheus metrics"),
  drain: section(
    refine(
      objectOf({ timeout: defaulted(duration, "25s", "how long connections may live on after SIGTERM") }),
      ({ timeout }) => ({ timeoutMs: timeout }),
    ),
    "the end of the process",
  ),
  log: section(
    objectOf({
      level: defaulted(oneOf("debug", "info", "warn", "error"), "info", "least level that is written"),
      format: defaulted(oneOf("json"), "json", "form of a line"),
      access: defaulted(accessLog, "all", "which connections or requests get a line"),
    }),
    "the log on stdout",
  ),
  compliance: optional(
    oneOf("pqc"),
    "`pqc`: keys of the tunnel are agreed by X25519MLKEM768 and nothing else; peers without it are refused",
  ),
  limits: section(LIMITS_SCHEMA, "limits that differ from their defaults"),
};

/** `uproxy.yaml`. */
export const UPROXY_SCHEMA: Schema<UproxyConfig> = refine(
  objectOf({
    workload: optional(
      objectOf({
        namespace: defaulted(namespaceName, "default", "its namespace"),
        name: required(resourceName, "its name"),
      }),
      "which workload this is; otherwise the one that has the certificate's account and one of this host's addresses",
    ),
    ...common,
    inbound: section(
      refine(
        objectOf({
          hbone: defaulted(orOff(listenAddress), ":15008", "tunnel port"),
          app: defaulted(
            refine(
              text("same, or a host", (value) => parseHost(value) !== undefined),
              (host) => (host === "same" ? undefined : parseHost(host)),
            ),
            "same",
            "host at which the app is reached; `same` is the address in the tunnel request",
          ),
          proxyProtocol: defaulted(
            listOf(integer(1, 65_535)),
            "[]",
            "ports of the app that await a PROXY protocol v2 header, which says who calls",
          ),
          keepSource: defaulted(
            flag,
            "false",
            "the app sees its callers' own addresses; needs CAP_NET_ADMIN, and the rules of `uproxy capture apply`",
          ),
          plaintext: defaulted(
            orOff(listenAddress),
            "off",
            "port of captured plaintext to the app, usually `:15006`; PeerAuthentication says whether it may come in",
          ),
        }),
        (inbound, refuse) =>
          inbound.keepSource && inbound.app !== undefined && parseIp(inbound.app) === undefined
            ? refuse(`keepSource needs app to be same or an IP address, found ${inbound.app}`)
            : inbound,
      ),
      "mesh to app",
    ),
    outbound: section(
      loopbackUnlessAllowed(
        objectOf({
          listeners: defaulted(listOf(explicitListener), "[]", "explicit listeners"),
          proxy: defaulted(proxyListener, "127.0.0.1:15080", "HTTP CONNECT and SOCKS5, told apart by the first byte"),
          allowNonLoopback: defaulted(
            flag,
            "false",
            "listeners and proxy may be bound where others reach them, who then act with this workload's identity",
          ),
          transparent: defaulted(
            orOff(listenAddress),
            "off",
            "port of captured outbound connections, usually `:15001`; the rules are `capture`'s",
          ),
          unknown: defaulted(oneOf("passthrough", "refuse"), "passthrough", "a destination that is in no resource"),
        }),
      ),
      "app to mesh",
    ),
    capture: section(CAPTURE_SCHEMA, "what `uproxy capture` turns to the transparent listeners"),
    dns: defaulted(
      dnsProxy,
      "off",
      "DNS for the app, on loopback, such as 127.0.0.1:15053; a mapping also says who is asked for other names (`upstream`, else /etc/resolv.conf)",
    ),
  }),
  ({ outbound: { listeners, proxy, transparent, unknown }, ...rest }) => ({
    ...rest,
    outbound: { listeners, proxy, transparent, unknown },
  }),
);

/** `waypoint.yaml`. */
export const WAYPOINT_SCHEMA: Schema<WaypointConfig> = refine(
  objectOf({
    gateway: required(
      objectOf({
        namespace: defaulted(namespaceName, "default", "its namespace"),
        name: required(resourceName, "its name"),
      }),
      "the Gateway that this process serves",
    ),
    ...common,
    hbone: defaulted(listenAddress, ":15008", "tunnel port"),
    pathNormalization: defaulted(
      oneOf("none", "base", "merge-slashes", "decode-and-merge-slashes"),
      "base",
      "what paths become before they are matched, decided on and forwarded",
    ),
    workers: defaulted(
      notYet(
        scalar("number of processes, or auto", (value) => {
          const number = typeof value === "string" && /^\d{1,4}$/.test(value) ? Number(value) : value;
          return number === "auto" || (Number.isInteger(number) && Number(number) > 0) ? number : undefined;
        }),
        "leave it at 1",
        1,
      ),
      1,
      "processes that share the port; auto is one per core",
    ),
    sessions: section(
      objectOf({
        secrets: optional(
          path,
          "file of secrets, one a line, that session persistence is sealed with: the first seals, all are accepted; the same for all instances. Without it, sessions end with the process",
        ),
      }),
      "session persistence",
    ),
    upgrades: defaulted(
      oneOrMore(upgradeProtocol),
      "websocket",
      "protocols that clients may switch to, by `Upgrade` or by extended CONNECT; all others are refused",
    ),
    tenants: section(
      objectOf({
        by: defaulted(
          oneOf("namespace", "account"),
          "namespace",
          "a tenant is a caller's namespace, or its service account",
        ),
        requests: defaulted(
          integer(2, 1_000_000),
          32_768,
          "requests in flight of all tenants, and connections that are passed through; each may have as many as are then still free, so half of them when it is alone",
        ),
        heldBytes: defaulted(
          size("1MiB", "1024GiB"),
          "32MiB",
          "bodies of all tenants that are kept to be sent again or wait for copies, shared out in the same way",
        ),
      }),
      "what the callers of a shared waypoint have together",
    ),
    tracing: optional(
      objectOf({
        otlp: required(
          text("URL", (value) => /^https?:\/\/[^\s/?#@]+(\/[^\s?#]*)?$/.test(value)),
          "OTLP endpoint",
        ),
        sample: defaulted(scalar("fraction from 0 to 1", share), 0.01, "share of requests that are traced"),
      }),
      "traces; this release takes the key, exports none, and says so in the log",
    ),
  }),
  ({ workers: _workers, sessions, ...rest }) => ({ ...rest, sessionSecrets: sessions.secrets }),
);
