// Types. One resource after it has been read by itself, before it is joined with the others into a snapshot.
import type { TrustDomain } from "../../identity/spiffe-id.ts";
import type { Cidr, Ip } from "../../net/ip.ts";
import type { AuthorizationPolicy, PeerAuthentication } from "../../policy/authorization.ts";
import type { ServiceEntry, ServicePort, Waypoint } from "../../workload/workload.ts";
import type { Preference } from "../../workload/locality.ts";
import type { BackendTls } from "../backend-tls.ts";
import type { HttpRoute, HttpRouteBackend, HttpRouteFilter, HttpRouteRule } from "../http-route.ts";
import type { Problem } from "../snapshot.ts";
import type { StreamRoute } from "../stream-route.ts";

/** `metadata`, with the place of the resource. */
export interface Metadata {
  /** Empty for a resource without namespace. */
  readonly namespace: string;
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly annotations: ReadonlyMap<string, string>;
  /** Milliseconds since the epoch; 0 when not given. */
  readonly createdAt: number;
  /** Grows with each change of the `spec` on Kubernetes; 0 when not given. */
  readonly generation: number;
  readonly source: string;
  readonly line: number;
}

/** core/v1 Namespace. */
export interface NamespaceResource {
  readonly kind: "Namespace";
  readonly metadata: Metadata;
}

/** core/v1 Service. One that is not understood gets no endpoints: its names and addresses stay, and lead nowhere. */
export interface ServiceResource {
  readonly kind: "Service";
  readonly metadata: Metadata;
  readonly vips: readonly Ip[];
  /** `clusterIP: None`. */
  readonly headless: boolean;
  readonly ports: readonly ServicePort[];
  /** As written; what the Service says of the workloads that it selects holds even when it is not understood. */
  readonly selector: ReadonlyMap<string, string> | undefined;
  /** Namespaces for which it is there; `undefined`: all. */
  readonly exportedTo: ReadonlySet<string> | undefined;
  /** `trafficDistribution`. */
  readonly prefers: Preference | undefined;
  readonly isUnderstood: boolean;
  /** `type: ExternalName`. */
  readonly isAlias: boolean;
}

/** Where something runs, as a WorkloadEntry and an endpoint of a ServiceEntry say it. */
export interface EndpointPlace {
  /** An address, or a DNS name that stands for several. */
  readonly address: { readonly kind: "ip"; readonly ip: Ip } | { readonly kind: "name"; readonly host: string };
  readonly serviceAccount: string;
  readonly ports: ReadonlyMap<string, number>;
  readonly weight: number;
  readonly labels: ReadonlyMap<string, string>;
  /** `region/zone/subzone`, as written. */
  readonly locality: string | undefined;
  /** As its own field says; a label may say it too. */
  readonly network: string | undefined;
}

/** networking.istio.io WorkloadEntry. One that is not understood is not healthy: nobody is sent to it. */
export interface WorkloadEntryResource extends EndpointPlace {
  readonly kind: "WorkloadEntry";
  readonly metadata: Metadata;
  /** Labels of `metadata` and of `spec`, of which the latter count. */
  readonly labels: ReadonlyMap<string, string>;
  readonly hbonePort: number;
  readonly trustDomain: TrustDomain | undefined;
  readonly healthy: boolean;
}

/** networking.istio.io ServiceEntry. One that is not understood keeps its hosts and addresses, and lets nobody through. */
export interface ServiceEntryResource {
  readonly kind: "ServiceEntry";
  readonly metadata: Metadata;
  /** Lower case; each is a DNS name, or `*.` and one. */
  readonly hosts: readonly string[];
  readonly vips: readonly Ip[];
  readonly cidrs: readonly Cidr[];
  readonly ports: readonly ServicePort[];
  readonly location: ServiceEntry["location"];
  readonly resolution: ServiceEntry["resolution"];
  /** As written; with resolution `dns` and no endpoint each host stands for itself. */
  readonly endpoints: readonly EndpointPlace[];
  readonly selector: ReadonlyMap<string, string> | undefined;
  readonly exportedTo: ReadonlySet<string> | undefined;
  readonly notUnderstood: string | undefined;
}

/** gateway.networking.k8s.io Gateway. */
export interface GatewayResource {
  readonly kind: "Gateway";
  readonly metadata: Metadata;
  /** `undefined`: not a waypoint's class, or not understood; nobody is sent through it then. */
  readonly waypoint: Waypoint | undefined;
  /** The network that is entered through it, if it is an east-west gateway that is understood. */
  readonly entersNetwork: string | undefined;
}

/** A filter as it is written: one that names a resource has that one's filters put in its place. */
export type FilterDraft =
  | Exclude<HttpRouteFilter, { kind: "mirror" }>
  | (Extract<HttpRouteFilter, { kind: "mirror" }> & { readonly path: string })
  | { readonly kind: "extension"; readonly name: string; readonly path: string };

/** A backend whose filters may name resources. */
export interface HttpBackendDraft extends Omit<HttpRouteBackend, "filters"> {
  readonly filters: readonly FilterDraft[];
}

/** A rule whose filters may name resources. */
export interface HttpRuleDraft extends Omit<HttpRouteRule, "filters" | "backends"> {
  readonly filters: readonly FilterDraft[];
  readonly backends: readonly HttpBackendDraft[];
}

/** A route by itself. */
export interface HttpRouteDraft extends Omit<HttpRoute, "rules"> {
  readonly rules: readonly HttpRuleDraft[];
}

/** A Gateway as parent of a route. */
export interface GatewayParent {
  readonly namespace: string;
  readonly name: string;
  readonly port: number | undefined;
  readonly sectionName: string | undefined;
}

/** gateway.networking.k8s.io HTTPRoute. */
export interface HttpRouteResource {
  readonly kind: "HTTPRoute";
  readonly metadata: Metadata;
  readonly gateways: readonly GatewayParent[];
  readonly route: HttpRouteDraft;
}

/** gateway.networking.k8s.io GRPCRoute, as the HTTPRoute that it amounts to. */
export interface GrpcRouteResource {
  readonly kind: "GRPCRoute";
  readonly metadata: Metadata;
  readonly gateways: readonly GatewayParent[];
  readonly route: HttpRouteDraft;
}

/** gateway.networking.k8s.io TCPRoute or TLSRoute. */
export interface StreamRouteResource {
  readonly kind: StreamRoute["kind"];
  readonly metadata: Metadata;
  readonly gateways: readonly GatewayParent[];
  readonly route: StreamRoute;
}

/** culvert.dev HTTPFilter. */
export interface HttpFilterResource {
  readonly kind: "HTTPFilter";
  readonly metadata: Metadata;
  readonly filters: readonly HttpRouteFilter[];
  /** Rules that name it then answer 500. */
  readonly notUnderstood: string | undefined;
}

/** A resource of the policy's namespace that holds the certificates of an authority. */
export interface CaReference {
  readonly kind: "ConfigMap" | "Secret";
  readonly name: string;
  readonly path: string;
}

/** gateway.networking.k8s.io BackendTLSPolicy. */
export interface BackendTlsPolicyResource {
  readonly kind: "BackendTLSPolicy";
  readonly metadata: Metadata;
  readonly policy: Omit<BackendTls, "roots">;
  readonly roots: readonly CaReference[] | "system";
}

/** core/v1 ConfigMap or Secret. */
export interface CaSourceResource {
  readonly kind: CaReference["kind"];
  readonly metadata: Metadata;
  /** The certificates in `ca.crt`, in PEM, one each; `undefined`: it has no such key. */
  readonly roots: readonly string[] | undefined;
}

/** gateway.networking.k8s.io ReferenceGrant. */
export interface ReferenceGrantResource {
  readonly kind: "ReferenceGrant";
  readonly metadata: Metadata;
}

/** security.istio.io AuthorizationPolicy. */
export interface AuthorizationPolicyResource {
  readonly kind: "AuthorizationPolicy";
  readonly metadata: Metadata;
  readonly policy: AuthorizationPolicy;
}

/** security.istio.io PeerAuthentication. */
export interface PeerAuthenticationResource {
  readonly kind: "PeerAuthentication";
  readonly metadata: Metadata;
  readonly peerAuthentication: PeerAuthentication;
}

export type Resource =
  | NamespaceResource
  | ServiceResource
  | WorkloadEntryResource
  | ServiceEntryResource
  | GatewayResource
  | HttpRouteResource
  | GrpcRouteResource
  | (StreamRouteResource & { readonly kind: "TCPRoute" })
  | (StreamRouteResource & { readonly kind: "TLSRoute" })
  | HttpFilterResource
  | BackendTlsPolicyResource
  | (CaSourceResource & { readonly kind: "ConfigMap" })
  | (CaSourceResource & { readonly kind: "Secret" })
  | ReferenceGrantResource
  | AuthorizationPolicyResource
  | PeerAuthenticationResource;

/** What one file, or several, hold. */
export interface ParsedResources {
  readonly resources: readonly Resource[];
  readonly problems: readonly Problem[];
}
