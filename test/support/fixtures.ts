// Pure. What a mesh is made of, for unit tests: what a test does not name has its usual value. Whatever has a name is named as
// `namespace/name`, or as `name` in namespace `default`.
import type {
  HttpRoute,
  HttpRouteBackend,
  HttpRouteMatch,
  HttpRouteRule,
  RouteParent,
} from "@culvert/shared/config/http-route.ts";
import type { BackendTls } from "@culvert/shared/config/backend-tls.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import type { StreamRoute, StreamRouteBackend } from "@culvert/shared/config/stream-route.ts";
import { parseTrustDomain, workloadId, type SpiffeId, type TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { parseCidr, parseIp, type Ip } from "@culvert/shared/net/ip.ts";
import type { AuthorizationPolicy } from "@culvert/shared/policy/authorization.ts";
import { Directory, type DirectoryContents } from "@culvert/shared/workload/directory.ts";
import type { Service, ServiceEntry, ServicePort, Waypoint, Workload } from "@culvert/shared/workload/workload.ts";
import { must } from "./must.ts";

/** An address that is known to be one. */
export function ip(text: string): Ip {
  return must(parseIp(text));
}

/** The trust domain of all fixtures. */
export const TRUST_DOMAIN: TrustDomain = must(parseTrustDomain("cluster.local"));

/** `default/curl` → the SPIFFE ID of that account. */
export function id(account: string, trustDomain: TrustDomain = TRUST_DOMAIN): SpiffeId {
  const { namespace, name } = named(account);
  return must(workloadId(trustDomain, namespace, name));
}

interface Named {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
}

function named(text: string): Named {
  const [name = "", namespace = "default"] = text.split("/").toReversed();
  return { uid: `${namespace}/${name}`, namespace, name };
}

type WorkloadParts = Partial<Omit<Workload, keyof Named | "addresses" | "labels" | "ports">> & {
  readonly addresses?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly ports?: Readonly<Record<string, number>>;
};

/** A workload in the mesh; its account is its name unless said otherwise. */
export function workload(name: string, parts: WorkloadParts = {}): Workload {
  return {
    ...named(name),
    serviceAccount: named(name).name,
    hostname: undefined,
    protocol: "hbone",
    hbonePort: 15008,
    weight: 1,
    healthy: true,
    waypoint: undefined,
    requireWaypoint: false,
    node: undefined,
    locality: { region: undefined, zone: undefined, subzone: undefined },
    network: "",
    ...parts,
    addresses: (parts.addresses ?? []).map(ip),
    labels: new Map(Object.entries(parts.labels ?? {})),
    ports: new Map(Object.entries(parts.ports ?? {})),
  };
}

type ServiceParts = Partial<Omit<Service, keyof Named | "vips" | "selector">> & {
  readonly vips?: readonly string[];
  readonly selector?: Readonly<Record<string, string>>;
};

/** A service with port 80 to port 8080 that selects `app: <name>`. */
export function service(name: string, parts: ServiceParts = {}): Service {
  const own = named(name);
  return {
    ...own,
    hostname: `${own.name}.${own.namespace}.svc.cluster.local`,
    headless: false,
    prefers: undefined,
    ports: [{ name: "http", port: 80, targetPort: 8080, appProtocol: "http" }],
    waypoint: undefined,
    requireWaypoint: false,
    entry: undefined,
    ...parts,
    vips: (parts.vips ?? []).map(ip),
    selector: new Map(Object.entries(parts.selector ?? { app: own.name })),
  };
}

type EntryParts = Partial<Omit<ServiceEntry, "cidrs" | "exportedTo">> & {
  readonly cidrs?: readonly string[];
  readonly exportedTo?: readonly string[];
};

/** The one host of a ServiceEntry `namespace/name`, outside the mesh, with port 443 and resolution STATIC. */
export function serviceEntry(name: string, host: string, parts: EntryParts = {}, more: Partial<Service> = {}): Service {
  const own = named(name);
  return {
    ...service(`${own.namespace}/${host}`, { ports: [servicePort("tls", 443)] }),
    hostname: host,
    selector: undefined,
    ...more,
    entry: {
      name: own.name,
      location: "external",
      resolution: "static",
      endpoints: [],
      notUnderstood: undefined,
      ...parts,
      cidrs: (parts.cidrs ?? []).map((text) => must(parseCidr(text))),
      exportedTo: parts.exportedTo === undefined ? undefined : new Set(parts.exportedTo),
    },
  };
}

/** A port of a service that leads to the same port of the app; what is spoken there is undeclared. */
export function servicePort(name: string, port: number, targetPort = port): ServicePort {
  return { name, port, targetPort, appProtocol: "unspecified" };
}

/** A remote waypoint for services. */
export function waypoint(name: string, parts: Partial<Omit<Waypoint, "namespace" | "name">> = {}): Waypoint {
  const own = named(name);
  return {
    namespace: own.namespace,
    name: own.name,
    serves: "service",
    placement: "remote",
    forServiceAccount: undefined,
    withoutLocal: "use-another",
    port: 15008,
    addresses: [],
    shares: [],
    ...parts,
  };
}

/** A policy that allows what its rules say, in its namespace. */
export function policy(name: string, parts: Partial<Omit<AuthorizationPolicy, keyof Named>> = {}): AuthorizationPolicy {
  return {
    ...named(name),
    action: "ALLOW",
    dryRun: false,
    target: { kind: "namespace" },
    rules: [],
    notUnderstood: undefined,
    ...parts,
  };
}

/** A route for any host, attached to nothing. */
export function route(name: string, parts: Partial<Omit<HttpRoute, keyof Named>> = {}): HttpRoute {
  return {
    kind: "HTTPRoute",
    ...named(name),
    createdAt: 0,
    parents: [],
    hostnames: [],
    rules: [],
    notUnderstood: undefined,
    ...parts,
  };
}

/** A rule of a route, for all requests, that leads nowhere. */
export function routeRule(parts: Partial<HttpRouteRule> = {}): HttpRouteRule {
  return {
    name: undefined,
    matches: [],
    filters: [],
    backends: [],
    timeouts: { requestMs: 0, backendRequestMs: 0 },
    retry: undefined,
    persistence: undefined,
    notUnderstood: undefined,
    ...parts,
  };
}

/** A match of the path prefix `/`. */
export function routeMatch(parts: Partial<HttpRouteMatch> = {}): HttpRouteMatch {
  return { path: { kind: "prefix", value: "/" }, method: undefined, headers: [], query: [], ...parts };
}

/** All ports of a Service, as parent of a route. */
export function routeParent(name: string, parts: Partial<RouteParent> = {}): RouteParent {
  const own = named(name);
  return {
    namespace: own.namespace,
    name: own.name,
    kind: "service",
    port: undefined,
    sectionName: undefined,
    ...parts,
  };
}

/** A Service port as backend of a route, with weight 1. */
export function routeBackend(name: string, port: number, parts: Partial<HttpRouteBackend> = {}): HttpRouteBackend {
  const own = named(name);
  return {
    kind: "service",
    namespace: own.namespace,
    name: own.name,
    port,
    weight: 1,
    filters: [],
    invalid: undefined,
    ...parts,
  };
}

/** A TCPRoute, or TLSRoute, with one rule of these backends, attached to nothing. */
export function streamRoute(
  name: string,
  backends: readonly StreamRouteBackend[],
  parts: Partial<Omit<StreamRoute, keyof Named>> = {},
): StreamRoute {
  return {
    kind: "TCPRoute",
    ...named(name),
    createdAt: 0,
    parents: [],
    hostnames: [],
    rules: [{ name: undefined, backends }],
    notUnderstood: undefined,
    ...parts,
  };
}

/** A BackendTLSPolicy for a Service of its namespace, of the name that the host begins with. */
export function backendTls(
  name: string,
  hostname: string,
  parts: Partial<Omit<BackendTls, keyof Named>> = {},
): BackendTls {
  return {
    ...named(name),
    createdAt: 0,
    targets: [{ name: hostname.replace(/\..*/, ""), sectionName: undefined }],
    hostname,
    subjectAltNames: [],
    roots: "system",
    notUnderstood: undefined,
    ...parts,
  };
}

/** A snapshot of these workloads, services and waypoints. */
export function snapshot(contents: Partial<DirectoryContents>, parts: Partial<Snapshot> = {}): Snapshot {
  return {
    version: 1,
    directory: new Directory({ workloads: [], services: [], waypoints: [], ...contents }),
    policies: [],
    peerAuthentications: [],
    routes: [],
    streamRoutes: [],
    backendTls: [],
    statuses: [],
    problems: [],
    ...parts,
  };
}
