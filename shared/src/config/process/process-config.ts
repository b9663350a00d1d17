// Types. The process configuration of uproxy and waypoint, read, checked and completed with defaults: what the keys of
// `uproxy.yaml` and `waypoint.yaml` mean to the program. Durations are milliseconds, sizes bytes, addresses parsed.
import type { Endpoint } from "../../net/endpoint.ts";
import type { Cidr } from "../../net/ip.ts";
import type { ListenAddress, UnixAddress } from "../../net/listen-address.ts";
import type { TrustConfig } from "../../identity/trust/trust-config.ts";
import type { TunnelLimits } from "../../tunnel/limits.ts";

/** An authority that is asked for certificates over the network. */
export interface RemoteAuthority {
  readonly address: { readonly host: string; readonly port: number };
  /** File with the roots of its own certificate. */
  readonly bundle: string;
  /** Name in its certificate; `undefined`: the host of its address. */
  readonly serverName: string | undefined;
  /** File that keeps the last certificate and key; `undefined`: nothing is kept. */
  readonly store: string | undefined;
  /** Validity to ask for. */
  readonly life: number;
}

/** Where the own certificate comes from. */
type CertificateOrigin =
  | {
      readonly kind: "files";
      /** A folder, or its parts one by one; `bundles` is trust domain to file. */
      readonly location:
        | string
        | { readonly certificate: string; readonly key: string; readonly bundles: Readonly<Record<string, string>> };
    }
  /** Path of the socket, and which of several identities to take. */
  | { readonly kind: "workloadApi"; readonly socket: string; readonly hint: string | undefined }
  /** `token`: file of what proves us the first time. */
  | ({ readonly kind: "authority"; readonly token: string | undefined } & RemoteAuthority)
  | ({ readonly kind: "istiod"; readonly token: string; readonly trustDomain: string } & RemoteAuthority);

/** Where the own identity comes from; `trust`: whom to trust beside what it brings, absent where nothing of it is configured. */
export type IdentityConfig = CertificateOrigin & { readonly trust?: TrustConfig };

/** An authority that is asked for resources over the network. */
export interface ResourceAuthority {
  readonly address: { readonly host: string; readonly port: number };
  /** File with roots of its own certificate; `undefined`: the roots of the own trust domain count alone. */
  readonly bundle: string | undefined;
  /** Name in its certificate; `undefined`: the host of its address. */
  readonly serverName: string | undefined;
}

/** Where the mesh resources come from. */
export type ResourcesConfig = (
  | { readonly kind: "files"; readonly folder: string }
  | ({ readonly kind: "authority" } & ResourceAuthority)
) & {
  /** Path of the last good snapshot on disk; `undefined`: none is kept. */
  readonly lastGood: string | undefined;
};

/** Which connections or requests get a line in the access log; a number is the share of them, 0 to 1. */
export type AccessLogChoice = "all" | "failures" | "off" | number;

/** Log settings. */
export interface LogConfig {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly format: "json";
  readonly access: AccessLogChoice;
}

/** What both programs have. A listener that is `undefined` is switched off. */
export interface CommonConfig {
  readonly identity: IdentityConfig;
  readonly resources: ResourcesConfig;
  /** Loopback or a UNIX socket. */
  readonly admin: ListenAddress | UnixAddress | undefined;
  readonly readiness: ListenAddress | undefined;
  readonly metrics: ListenAddress | undefined;
  readonly drain: { readonly timeoutMs: number };
  readonly log: LogConfig;
  /** `pqc`: post-quantum key agreement alone. */
  readonly compliance: "pqc" | undefined;
  /** All limits, the overridden ones included. */
  readonly limits: TunnelLimits;
}

/** An explicit listener: what the app dials, and where the mesh carries it. */
export interface ExplicitListener {
  /** On loopback, unless more is allowed. */
  readonly listen: ListenAddress | UnixAddress;
  /** Mode of a UNIX socket. */
  readonly mode: number;
  /** Whether each connection begins with a PROXY header; `undefined`: none does. */
  readonly proxyProtocol: "v2" | undefined;
  /** Host name or canonical IP address, and port. */
  readonly to: { readonly host: string; readonly port: number };
  /** Sessions to where it leads are opened before the first connection, and kept. */
  readonly prewarm: boolean;
}

/** Whole numbers from `first` to `last`, both included: ports, user ids, group ids. */
export interface NumberRange {
  readonly first: number;
  readonly last: number;
}

/** Connections of the app, by what they go to and who makes them; an empty list says nothing. */
export interface OutboundSelection {
  readonly ports: readonly NumberRange[];
  readonly cidrs: readonly Cidr[];
  readonly users: readonly NumberRange[];
  readonly groups: readonly NumberRange[];
}

/** What the rules of transparent capture turn to uproxy. Which listeners there are to turn it to is said by their own keys. */
export interface CaptureConfig {
  /** How the rules tell uproxy's own connections from the app's. */
  readonly exempt: { readonly kind: "user" | "group" | "mark"; readonly id: number };
  readonly outbound: { readonly include: OutboundSelection; readonly exclude: OutboundSelection };
  readonly inbound: {
    readonly include: { readonly ports: readonly NumberRange[] };
    readonly exclude: { readonly ports: readonly NumberRange[]; readonly sources: readonly Cidr[] };
  };
}

/** `uproxy.yaml`. */
export interface UproxyConfig extends CommonConfig {
  /** Who I am; `undefined`: the workload that has my SVID's account and one of my addresses. */
  readonly workload: { readonly namespace: string; readonly name: string } | undefined;
  readonly inbound: {
    readonly hbone: ListenAddress | undefined;
    /** Host at which the app is reached; `undefined` is `same`, the address in the tunnel request. */
    readonly app: string | undefined;
    /** Ports of the app to which a PROXY header is sent before the first byte. */
    readonly proxyProtocol: readonly number[];
    /** Whether the app sees callers' own addresses. */
    readonly keepSource: boolean;
    /** Where the rules of capture turn plaintext connections to the app. */
    readonly plaintext: ListenAddress | undefined;
  };
  readonly outbound: {
    readonly listeners: readonly ExplicitListener[];
    /** HTTP CONNECT and SOCKS5; on loopback, unless more is allowed. */
    readonly proxy: ListenAddress | UnixAddress | undefined;
    /** Where the rules of `capture` turn the app's connections to. */
    readonly transparent: ListenAddress | undefined;
    /** What becomes of a destination that is in no resource. */
    readonly unknown: "passthrough" | "refuse";
  };
  readonly capture: CaptureConfig;
  /** The DNS proxy. */
  readonly dns:
    | {
        /** On loopback; `localhost` is IPv4 and IPv6. */
        readonly listen: ListenAddress;
        /** Who is asked for names that are not the mesh's; `undefined`: the resolvers of the host's resolv.conf. */
        readonly upstream: readonly Endpoint[] | undefined;
      }
    | undefined;
}

/** How far paths are normalized before they are decided on; each level does what the one before it does, and more. */
export type PathNormalization = "none" | "base" | "merge-slashes" | "decode-and-merge-slashes";

/** Who the tenants of a waypoint are, and what they share. */
export interface TenantsConfig {
  readonly by: "namespace" | "account";
  /** Requests in flight of all of them. */
  readonly requests: number;
  /** Bytes of bodies that are kept for them. */
  readonly heldBytes: number;
}

/** `waypoint.yaml`. */
export interface WaypointConfig extends CommonConfig {
  /** The Gateway that this process serves. */
  readonly gateway: { readonly namespace: string; readonly name: string };
  readonly hbone: ListenAddress;
  /** File of the secrets that sessions are sealed with; `undefined`: one of this process alone. */
  readonly sessionSecrets: string | undefined;
  /** Protocols that clients may switch to, lower case. */
  readonly upgrades: readonly string[];
  readonly pathNormalization: PathNormalization;
  /** How callers are told apart, and what they share. */
  readonly tenants: TenantsConfig;
  /** Where traces are wanted; nothing is exported yet. */
  readonly tracing: { readonly otlp: string; readonly sample: number } | undefined;
}
