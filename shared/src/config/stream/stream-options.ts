// Types. What the configuration stream of one proxy needs to know, and what it tells.
import type { Failure } from "../../failure/failure.ts";
import type { Identity } from "../../identity/source.ts";
import type { Ip } from "../../net/ip.ts";
import type { Problem } from "../snapshot.ts";

/** Who asks, beside what the certificate proves. */
export type Asker =
  | {
      readonly proxy: "uproxy";
      /** `namespace/name`, where the configuration says so. */
      readonly workload: string | undefined;
      /** Addresses of this host. */
      readonly addresses: readonly Ip[];
    }
  /** `namespace/name` of the Gateway that is served. */
  | { readonly proxy: "waypoint"; readonly gateway: string };

/** The limits of the process that bound the stream. Durations in milliseconds. */
export interface StreamLimits {
  readonly configurationWaitMs: number;
  readonly subscriptionIdleMs: number;
  readonly maxSubscriptions: number;
}

/** What the stream needs of the process. */
export interface StreamNeeds {
  readonly asker: () => Asker;
  readonly identity: {
    get(): Identity;
    onChange(listener: (identity: Identity) => void): () => void;
  };
}

/** What the stream tells of itself; each once per change. None may throw. */
export interface StreamEvents {
  readonly onConnected: () => void;
  /** The authority is away, or takes us for nobody; it is tried again by itself. */
  readonly onDisconnected: (failure: Failure) => void;
}

/** How a stream stands. */
export interface StreamStatus {
  /** Whether the authority has answered on the stream that is open. */
  readonly connected: boolean;
  /** The authority's version of what is in use; empty before the first. */
  readonly version: string;
  readonly documents: number;
  /** Destinations that the authority is asked for. */
  readonly subscriptions: number;
  /** Those of them that connections wait for. */
  readonly waiting: number;
  readonly applied: number;
  readonly refused: number;
  /** The first problems of the newest update, while it is refused. */
  readonly problems: readonly Problem[];
  /** How often a stream has begun. */
  readonly connects: number;
}
