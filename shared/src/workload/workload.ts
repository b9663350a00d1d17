// Types. A workload (something that runs at addresses under an identity) and a service (a name for several of them),
// as uproxy and waypoint use them, whichever resource or stream they came from.
import type { TrustDomain } from "../identity/spiffe-id.ts";
import type { Cidr, Ip } from "../net/ip.ts";
import type { Locality, Preference } from "./locality.ts";

/** Whether connections to a workload are tunnelled. */
export type TunnelProtocol = "hbone" | "none";

/** Reference to a waypoint: a Gateway by name. */
export interface WaypointRef {
  readonly namespace: string;
  readonly name: string;
}

/** Something that runs: a pod, a container, a VM. Immutable; a change makes a new one. */
export interface Workload {
  /** `namespace/name`, unique in a snapshot. */
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly serviceAccount: string;
  /** The trust domain of its identity, where it is another than that of whoever asks. */
  readonly trustDomain?: TrustDomain | undefined;
  /** The addresses it answers at; several when it was given by DNS name or is dual-stack. */
  readonly addresses: readonly Ip[];
  /** DNS name from which the addresses came, resolved off the data path; `undefined` when they were given. */
  readonly hostname: string | undefined;
  readonly labels: ReadonlyMap<string, string>;
  readonly protocol: TunnelProtocol;
  /** Port of its tunnel listener, 15008 unless the resource says another. */
  readonly hbonePort: number;
  /** Service port name to port of the app, where the workload overrides a service's target port. */
  readonly ports: ReadonlyMap<string, number>;
  /** Share of traffic relative to the others, 1 when not given. */
  readonly weight: number;
  readonly healthy: boolean;
  /** Its own waypoint, for connections to its addresses; `undefined` for none. */
  readonly waypoint: WaypointRef | undefined;
  /** Only its waypoint may call it. */
  readonly requireWaypoint: boolean;
  readonly node: string | undefined;
  readonly locality: Locality;
  /** The network that its addresses belong to; empty: that of whoever asks. */
  readonly network: string;
}

/** What is spoken on a service port, as far as it is declared (`appProtocol`, else the port name's prefix). */
export type AppProtocol = "http" | "http2" | "grpc" | "grpc-web" | "tcp" | "tls" | "unspecified";

/** One port of a service. */
export interface ServicePort {
  readonly name: string;
  readonly port: number;
  /** Number, or name of a port of the workload. */
  readonly targetPort: number | string;
  readonly appProtocol: AppProtocol;
}

/** A name for a set of workloads, or for what lies outside. Immutable. */
export interface Service {
  /** `namespace/name`. The name of a Service is one label, that of a ServiceEntry's host has a dot: they never meet. */
  readonly uid: string;
  readonly namespace: string;
  /** Of a ServiceEntry: the host. */
  readonly name: string;
  /** Fully qualified: `name.namespace.svc.cluster.local`, or the host of a ServiceEntry, which may begin with `*.`. */
  readonly hostname: string;
  /** Cluster IPs; empty for a headless service or outside Kubernetes. Of a ServiceEntry: its single addresses. */
  readonly vips: readonly Ip[];
  /** Said to have no address of its own (`clusterIP: None`): its name stands for its endpoints, or for what others know. */
  readonly headless: boolean;
  readonly ports: readonly ServicePort[];
  /** Labels that a workload must carry; `undefined` selects nothing. */
  readonly selector: ReadonlyMap<string, string> | undefined;
  readonly waypoint: WaypointRef | undefined;
  readonly requireWaypoint: boolean;
  /** Which endpoints go first; `undefined`: all are alike. */
  readonly prefers: Preference | undefined;
  /** Namespaces for which a Service is there (`exportTo`); absent: all. */
  readonly exportedTo?: ReadonlySet<string> | undefined;
  /** What only a ServiceEntry says; `undefined` for a Service. */
  readonly entry: ServiceEntry | undefined;
}

/** One host of a ServiceEntry (networking.istio.io): what may be reached outside, or what no Service names inside. */
export interface ServiceEntry {
  /** Name of the resource, by which policies refer to it. */
  readonly name: string;
  readonly location: "external" | "internal";
  /** `none`: a connection goes on to the address or name that it was made to; else to one of the endpoints. */
  readonly resolution: "none" | "static" | "dns";
  /** Blocks of addresses that are its own, beside the single ones. */
  readonly cidrs: readonly Cidr[];
  /** The places that the entry itself names; those that its selector finds are workloads of the directory. */
  readonly endpoints: readonly Workload[];
  /** Namespaces for which it is there; `undefined`: all. */
  readonly exportedTo: ReadonlySet<string> | undefined;
  /** Why it cannot be understood: it then keeps its hosts and addresses, and lets nobody through. */
  readonly notUnderstood: string | undefined;
}

/** What kind of destination a waypoint serves (`istio.io/waypoint-for`). */
export type WaypointFor = "service" | "workload" | "all" | "none";

/** The share that one waypoint has of the traffic of another, or of its own: its weight over the sum of all. */
export interface WaypointShare {
  readonly ref: WaypointRef;
  readonly weight: number;
}

/** The gateway through which another network is entered: a Gateway of class `istio-east-west` with its instances. */
export interface NetworkGateway {
  readonly namespace: string;
  readonly name: string;
  readonly network: string;
}

/**
 * Where the instances of a waypoint stand, and so which of them a connection takes: that of the endpoint's own pod, one of the
 * caller's node, one that has the identity of the one account that it serves, or any.
 */
export type Placement = "sidecar" | "node" | "service-account" | "remote";

/** What callers do on a node that has no instance of a waypoint of placement `node`, or none that can be reached. */
export type WithoutLocalInstance = "use-another" | "refuse";

/** A waypoint: a Gateway of class `culvert-waypoint` (or Istio's) with its instances. */
export interface Waypoint {
  readonly namespace: string;
  readonly name: string;
  readonly serves: WaypointFor;
  readonly placement: Placement;
  /** With `service-account`, and only then: the account of its namespace that it serves, and runs as. */
  readonly forServiceAccount: string | undefined;
  /** Read with `node`. */
  readonly withoutLocal: WithoutLocalInstance;
  /** Port of its HBONE listener. */
  readonly port: number;
  /** Addresses named in the Gateway's spec or status, used when no workload is an instance. */
  readonly addresses: readonly string[];
  /** Waypoints that share its traffic, itself among them if it keeps any; empty: it has all of it. */
  readonly shares: readonly WaypointShare[];
}
