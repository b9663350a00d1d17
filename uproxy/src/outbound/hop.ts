// Types. A question of where a connection goes next, and its answer.
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import type { TunnelGateway } from "@culvert/shared/tunnel/target.ts";
import type { Preference } from "@culvert/shared/workload/locality.ts";
import type { Service, Waypoint, Workload } from "@culvert/shared/workload/workload.ts";

/** Where an app wants to go: an address, or a name that only the mesh may know. */
export type Destination =
  | { readonly kind: "ip"; readonly ip: Ip; readonly port: number }
  | { readonly kind: "name"; readonly host: string; readonly port: number };

/** Who asks: the part of this proxy's own identity that the answer depends on. */
export interface Self {
  readonly namespace: string;
  readonly trustDomain: TrustDomain;
  /** Network of the own workload; empty or absent: it does not say. */
  readonly network?: string;
  /** Node of the own workload, where that is known. */
  readonly node?: string | undefined;
  /** Addresses of the own pod. */
  readonly addresses?: readonly Ip[];
}

/** One place that a connection may be sent to. */
export interface Endpoint {
  readonly workload: Workload;
  readonly ip: Ip;
  /** Port to dial: the tunnel listener, or the app itself when the workload is not in the mesh. */
  readonly port: number;
  /** Authority of the tunnel request; `undefined` when the workload is dialled in plain TCP. */
  readonly authority: string | undefined;
  /** Identities of which the peer must prove one. */
  readonly expected: readonly SpiffeId[];
  /** Set where the peer is in another network: `ip` and `port` are then those of an instance of its gateway. */
  readonly via?: TunnelGateway;
}

/** Several endpoints of which one is to be picked. */
export interface Choices {
  readonly endpoints: readonly [Endpoint, ...Endpoint[]];
  /** Which of them go first; `undefined`: all are alike. */
  readonly prefers: Preference | undefined;
}

/** The instances of one of the waypoints that share traffic. */
export interface Share extends Choices {
  readonly weight: number;
}

/** The answer: several endpoints of which one is to be picked, or a plain connection to what was asked for. */
export type Hop =
  | (Choices & {
      readonly kind: "tunnel";
      /** The service that the app asked for, if it asked for one. */
      readonly service: Service | undefined;
      /** The waypoint that stands before the destination, if the way leads through one. */
      readonly waypoint: Waypoint | undefined;
      /** The same endpoints by waypoint, where several share the traffic: each connection is for one of them. */
      readonly shares?: readonly [Share, ...Share[]];
    })
  | {
      readonly kind: "passthrough";
      readonly host: string;
      readonly port: number;
      /** The ServiceEntry that lets it pass; `undefined` for what no resource knows. */
      readonly service: Service | undefined;
    };

/** What to do with destinations that no resource knows. */
export type UnknownDestinations = "passthrough" | "refuse";
