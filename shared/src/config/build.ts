// Pure. Resources that were read one by one, joined into one snapshot: what each says of the others is looked up here.
import type { Ip } from "../net/ip.ts";
import { CLUSTER_DOMAIN, Directory } from "../workload/directory.ts";
import { localityOf } from "../workload/locality.ts";
import { waypointOf, type Labels } from "../workload/waypoint-of.ts";
import type { NetworkGateway, Service, Waypoint, WaypointFor, WaypointRef, Workload } from "../workload/workload.ts";
import { duplicates, danglingReferences } from "./cross-check.ts";
import { DATAPLANE_MODE_LABEL, NETWORK_LABEL, REQUIRE_WAYPOINT_ANNOTATION } from "./resources/metadata.ts";
import { ofKind } from "./resources/of-kind.ts";
import { placesOf } from "./resources/service-entry.ts";
import { DEFAULT_HBONE_PORT } from "./resources/workload-entry.ts";
import type {
  EndpointPlace,
  Metadata,
  ParsedResources,
  Resource,
  ServiceEntryResource,
  ServiceResource,
  WorkloadEntryResource,
} from "./resources/resource.ts";
import type { Routing } from "./routing/routing.ts";
import type { Snapshot } from "./snapshot.ts";

/** Label that names the node that a workload runs on. */
const NODE_LABEL = "kubernetes.io/hostname";

/**
 * Joins resources into a snapshot. Its problems are those of the resources and those between them; a snapshot with a
 * problem of severity `error` must not be used.
 *
 * @param addressesOf the addresses that a DNS name of a WorkloadEntry stands for now
 * @param routing joins the routes; without it there are none
 */
export function buildSnapshot(
  version: number,
  parsed: ParsedResources,
  addressesOf: (host: string) => readonly Ip[],
  routing?: Routing,
): Snapshot {
  const { resources } = parsed;
  const namespaces = new Map<string, Metadata>();
  const waypoints: Waypoint[] = [];
  const gateways: NetworkGateway[] = [];
  for (const resource of resources) {
    if (resource.kind === "Namespace") namespaces.set(resource.metadata.name, resource.metadata);
    if (resource.kind !== "Gateway") continue;
    if (resource.waypoint !== undefined) waypoints.push(resource.waypoint);
    const { namespace, name } = resource.metadata;
    if (resource.entersNetwork !== undefined) gateways.push({ namespace, name, network: resource.entersNetwork });
  }
  const mesh = new Surroundings(namespaces, waypoints);
  const entries = new Map<string, Service>();
  for (const resource of ofKind(resources, "ServiceEntry")) {
    for (const host of entryServices(resource, mesh, addressesOf)) {
      if (!entries.has(host.uid)) entries.set(host.uid, host);
    }
  }
  const services = ofKind(resources, "Service").map((resource) => serviceOf(resource, mesh, resource.isUnderstood));
  services.push(...entries.values());
  const workloads = ofKind(resources, "WorkloadEntry").map((resource) => workloadOf(resource, mesh, addressesOf));
  const directory = new Directory({
    workloads: markRequiring(workloads, resources, mesh),
    services,
    waypoints,
    gateways,
  });
  const parts = routing?.join(parsed, directory);
  return {
    version,
    directory,
    policies: ofKind(resources, "AuthorizationPolicy").map(({ policy }) => policy),
    peerAuthentications: ofKind(resources, "PeerAuthentication").map(({ peerAuthentication }) => peerAuthentication),
    routes: parts?.routes ?? [],
    streamRoutes: parts?.streamRoutes ?? [],
    backendTls: parts?.backendTls ?? [],
    statuses: parts?.statuses ?? [],
    problems: [
      ...parsed.problems,
      ...duplicates(resources),
      ...danglingReferences(resources, directory),
      ...(parts?.problems ?? []),
    ],
  };
}

/** What a Service or workload takes from its Namespace and from the Gateways. */
class Surroundings {
  readonly #namespaces: ReadonlyMap<string, Metadata>;
  readonly #serves: ReadonlyMap<string, WaypointFor>;

  constructor(namespaces: ReadonlyMap<string, Metadata>, waypoints: readonly Waypoint[]) {
    this.#namespaces = namespaces;
    this.#serves = new Map(waypoints.map(({ namespace, name, serves }) => [`${namespace}/${name}`, serves]));
  }

  waypointOf(kind: "service" | "workload", namespace: string, labels: Labels): WaypointRef | undefined {
    const namespaceLabels = this.#namespaces.get(namespace)?.labels;
    return waypointOf({ kind, namespace, labels, namespaceLabels }, (ref) =>
      this.#serves.get(`${ref.namespace}/${ref.name}`),
    );
  }

  /** The annotation of the resource itself, else of its Namespace. */
  requiresWaypoint({ namespace, annotations }: Metadata): boolean {
    const own = annotations.get(REQUIRE_WAYPOINT_ANNOTATION);
    return (own ?? this.#namespaces.get(namespace)?.annotations.get(REQUIRE_WAYPOINT_ANNOTATION)) === "true";
  }

  /** In the mesh unless the workload, else its Namespace, says otherwise. */
  isMeshed(namespace: string, labels: Labels): boolean {
    const own = labels.get(DATAPLANE_MODE_LABEL);
    return (own ?? this.#namespaces.get(namespace)?.labels.get(DATAPLANE_MODE_LABEL)) !== "none";
  }
}

function serviceOf(
  { metadata, vips, headless, ports, selector, exportedTo, prefers }: ServiceResource,
  mesh: Surroundings,
  hasEndpoints: boolean,
): Service {
  const { namespace, name } = metadata;
  return {
    uid: `${namespace}/${name}`,
    namespace,
    name,
    hostname: `${name}.${namespace}.svc.${CLUSTER_DOMAIN}`,
    vips,
    headless,
    ports,
    selector: hasEndpoints ? selector : undefined,
    waypoint: mesh.waypointOf("service", namespace, metadata.labels),
    requireWaypoint: mesh.requiresWaypoint(metadata),
    prefers,
    ...(exportedTo === undefined ? {} : { exportedTo }),
    entry: undefined,
  };
}

/** One service for each host of an entry. */
function entryServices(
  resource: ServiceEntryResource,
  mesh: Surroundings,
  addressesOf: (host: string) => readonly Ip[],
): Service[] {
  const { metadata, hosts, vips, cidrs, ports, location, resolution, selector, exportedTo, notUnderstood } = resource;
  const { namespace, name } = metadata;
  return hosts.map((host) => ({
    uid: `${namespace}/${host}`,
    namespace,
    name: host,
    hostname: host,
    vips,
    // Nothing stands behind a name that is to be reached where it leads to, nor behind a wildcard.
    headless: resolution === "none" || host.startsWith("*"),
    ports,
    selector: notUnderstood === undefined ? selector : undefined,
    waypoint: mesh.waypointOf("service", namespace, metadata.labels),
    requireWaypoint: mesh.requiresWaypoint(metadata),
    prefers: undefined,
    entry: {
      name,
      location,
      resolution,
      cidrs,
      endpoints: placesOf(resource, host).map((place, index) =>
        entryWorkload(metadata, place, index, location === "internal", mesh, addressesOf),
      ),
      exportedTo,
      notUnderstood,
    },
  }));
}

function entryWorkload(
  { namespace, name }: Metadata,
  { address, serviceAccount, labels, ports, weight, locality, network }: EndpointPlace,
  index: number,
  isInside: boolean,
  mesh: Surroundings,
  addressesOf: (host: string) => readonly Ip[],
): Workload {
  return {
    uid: `${namespace}/${name}#${index}`,
    namespace,
    name,
    serviceAccount,
    addresses: address.kind === "ip" ? [address.ip] : addressesOf(address.host),
    hostname: address.kind === "ip" ? undefined : address.host,
    labels,
    protocol: isInside && mesh.isMeshed(namespace, labels) ? "hbone" : "none",
    hbonePort: DEFAULT_HBONE_PORT,
    ports,
    weight,
    healthy: true,
    waypoint: undefined,
    requireWaypoint: false,
    node: labels.get(NODE_LABEL),
    locality: localityOf(locality, labels),
    network: network ?? labels.get(NETWORK_LABEL) ?? "",
  };
}

function workloadOf(
  resource: WorkloadEntryResource,
  mesh: Surroundings,
  addressesOf: (host: string) => readonly Ip[],
): Workload {
  const { metadata, labels, address } = resource;
  const { namespace, name } = metadata;
  return {
    uid: `${namespace}/${name}`,
    namespace,
    name,
    serviceAccount: resource.serviceAccount,
    addresses: address.kind === "ip" ? [address.ip] : addressesOf(address.host),
    hostname: address.kind === "ip" ? undefined : address.host,
    labels,
    protocol: mesh.isMeshed(namespace, labels) ? "hbone" : "none",
    hbonePort: resource.hbonePort,
    ...(resource.trustDomain === undefined ? {} : { trustDomain: resource.trustDomain }),
    ports: resource.ports,
    weight: resource.weight,
    healthy: resource.healthy,
    waypoint: mesh.waypointOf("workload", namespace, labels),
    requireWaypoint: mesh.requiresWaypoint(metadata),
    node: labels.get(NODE_LABEL),
    locality: localityOf(resource.locality, labels),
    network: resource.network ?? labels.get(NETWORK_LABEL) ?? "",
  };
}

/** A workload also requires its waypoint when a Service that selects it says so and its own annotation does not object. */
function markRequiring(
  workloads: readonly Workload[],
  resources: readonly Resource[],
  mesh: Surroundings,
): readonly Workload[] {
  const saying = <K extends Resource["kind"]>(kind: K, value: string) =>
    ofKind(resources, kind).filter(({ metadata }) => metadata.annotations.get(REQUIRE_WAYPOINT_ANNOTATION) === value);
  const requiring = saying("Service", "true").map((resource) => serviceOf(resource, mesh, true));
  if (requiring.length === 0) return workloads;
  const objecting = new Set(
    saying("WorkloadEntry", "false").map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
  );
  const draft = new Directory({ workloads, services: requiring, waypoints: [] });
  return workloads.map((workload) => {
    if (objecting.has(workload.uid) || draft.servicesOf(workload).length === 0) return workload;
    return { ...workload, requireWaypoint: true };
  });
}
