// Types. What a service (uproxy, waypoint) stands on, and what it is to the program that runs it.
import type { ResourceSource } from "../config/resource-source.ts";
import type { Failure } from "../failure/failure.ts";
import type { ReloadableSource } from "../identity/source.ts";
import type { Compliance } from "../identity/tls.ts";
import type { Clock } from "../net/clock.ts";
import type { AccessLog } from "../observe/access-log.ts";
import type { AdminHandler } from "../observe/admin.ts";
import type { HttpHandler } from "../observe/http-endpoint.ts";
import type { Log } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { ByDirection } from "../observe/proxy-metrics.ts";
import type { TunnelLimits } from "../tunnel/limits.ts";
import type { StartFailure } from "./start-failure.ts";

/** What a service stands on. */
export interface Foundation {
  readonly clock: Clock;
  readonly log: Log;
  readonly accessLog: AccessLog;
  readonly metrics: Metrics;
  readonly countFailure: (failure: Failure) => void;
  /** Counts a session of tunnels that was opened. */
  readonly countHandshake: (direction: keyof ByDirection, keyGroup: string | undefined) => void;
  readonly identity: ReloadableSource;
  readonly resources: ResourceSource;
  readonly tunnelLimits: TunnelLimits;
  /** What the key agreement of tunnels must comply with beside the mesh's own rules. */
  readonly compliance: Compliance | undefined;
  /** Ids of connections, unique in this process and unlikely to meet those of another. */
  readonly newId: () => string;
}

/** A service that serves. */
export interface Service {
  /** Its own paths on the admin port, beside those that every program has. */
  readonly admin: readonly AdminHandler[];
  /** Its own paths on the metrics port. */
  readonly expositions?: ReadonlyMap<string, HttpHandler>;
  /** What it holds now, for the metrics. */
  holds(): { readonly connections: ByDirection; readonly sessions: ByDirection; readonly tunnels: ByDirection };
  /** Tells peers to go elsewhere; what runs goes on, and what comes all the same is served. */
  drain(): void;
  /** Closes the listeners of traffic; what runs goes on. Called after `drain`, when nothing more comes. */
  stopAccepting(): void;
  /** Resolves once nothing runs. */
  idle(): Promise<void>;
  /** Ends everything at once. */
  close(): Promise<void>;
}

/** Starts a service; it serves once this has resolved without a failure. */
export type StartService = (foundation: Foundation) => Promise<Service | StartFailure>;
