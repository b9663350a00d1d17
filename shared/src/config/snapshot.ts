// Types. One whole, immutable state of the mesh configuration, and where such states come from.
import type { Failure } from "../failure/failure.ts";
import type { Ip } from "../net/ip.ts";
import type { AuthorizationPolicy, PeerAuthentication } from "../policy/authorization.ts";
import type { Directory } from "../workload/directory.ts";
import type { BackendTls } from "./backend-tls.ts";
import type { HttpRoute } from "./http-route.ts";
import type { ResourceStatus } from "./status/condition.ts";
import type { StreamRoute } from "./stream-route.ts";

/** Something in the resources that is wrong or not understood, for the log, `config_dump` and `check`. */
export interface Problem {
  readonly file: string;
  /** 1-based. */
  readonly line: number;
  /** `Kind namespace/name` as far as known. */
  readonly resource: string;
  /** Path of the field, such as `spec.rules[0].filters`. */
  readonly path: string;
  /** What was expected and what was found. */
  readonly text: string;
  /** `error`: the folder cannot be used and the last good snapshot stays; `not-understood`: this resource fails closed. */
  readonly severity: "error" | "not-understood";
  /** What a route's status says of it; absent: `UnsupportedValue`. */
  readonly reason?: ConditionReason;
}

/** Why a condition in the status of a route or policy is false: reasons that Gateway API names. */
export type ConditionReason =
  | "BackendNotFound"
  | "Conflicted"
  | "IncompatibleFilters"
  | "InvalidCACertificateRef"
  | "InvalidKind"
  | "NoMatchingParent"
  | "NoValidCACertificate"
  | "NotAllowedByListeners"
  | "RefNotPermitted"
  | "TargetNotFound"
  | "UnsupportedProtocol"
  | "UnsupportedValue";

/** One state of the mesh. Everything that one connection or request asks comes from one and the same snapshot. */
export interface Snapshot {
  /** Grows with each swap within one process. */
  readonly version: number;
  readonly directory: Directory;
  readonly policies: readonly AuthorizationPolicy[];
  readonly peerAuthentications: readonly PeerAuthentication[];
  readonly routes: readonly HttpRoute[];
  readonly streamRoutes: readonly StreamRoute[];
  readonly backendTls: readonly BackendTls[];
  /** What Gateway API wants told of each route and each policy of backends. */
  readonly statuses: readonly ResourceStatus[];
  readonly problems: readonly Problem[];
}

/** A destination that somebody wants to go to: an address, or a name. */
export type Demanded = { readonly kind: "ip"; readonly ip: Ip } | { readonly kind: "name"; readonly host: string };

/** A place that snapshots come from. */
export interface ConfigSource {
  /** The snapshot now. A source is only handed out once it has one. */
  get(): Snapshot;
  /** Calls `listener` after each swap; returns the way to stop that. */
  onChange(listener: (snapshot: Snapshot) => void): () => void;
  /**
   * Of a source that holds what it was asked for and no more. Undefined when the snapshot now says what the destination is, which
   * costs next to nothing; else it is asked for, and the snapshot after the promise says it, unless there is a failure:
   * CONFIGURATION_UNAVAILABLE.
   */
  demand?(destination: Demanded): Promise<Failure | undefined> | undefined;
  /** Of such a source: what it never forgets while `users` name it. Returns the way to stop that. */
  keep?(users: () => Iterable<Demanded>): () => void;
  close(): void;
}
