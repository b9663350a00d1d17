// Pure. All workloads, services and waypoints of one snapshot, and the questions that a connection asks of them.
import type { Ip } from "../net/ip.ts";
import { ServiceEntries } from "./service-entries.ts";
import { mayBeVirtual, virtualAddresses, type VirtualAddresses } from "./virtual-address.ts";
import type {
  NetworkGateway,
  Service,
  ServicePort,
  Waypoint,
  WaypointRef,
  WaypointShare,
  Workload,
} from "./workload.ts";

/** Label of a workload that is an instance of a Gateway (Gateway API, "Automated deployments"). */
export const GATEWAY_NAME_LABEL = "gateway.networking.k8s.io/gateway-name";

/** The domain below which Kubernetes names services. */
export const CLUSTER_DOMAIN = "cluster.local";

/** What a directory is built from. Each `uid` occurs once per kind. */
export interface DirectoryContents {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly waypoints: readonly Waypoint[];
  /** Gateways into other networks; of several into one network the first counts. */
  readonly gateways?: readonly NetworkGateway[];
}

/**
 * Who is where. Immutable, and built in time linear in its contents and in the endpoints that come out; every question
 * is one lookup in a map.
 */
export class Directory {
  readonly #workloads = new Map<string, Workload>();
  readonly #workloadsByIp = new Map<Ip, Workload[]>();
  readonly #services = new Map<string, Service>();
  readonly #servicesByVip = new Map<Ip, Service>();
  readonly #waypoints = new Map<string, Waypoint>();
  readonly #endpoints = new Map<string, readonly Workload[]>();
  readonly #servicesOf = new Map<string, Service[]>();
  readonly #instances = new Map<string, Workload[]>();
  readonly #entries: ServiceEntries;
  readonly #gateways = new Map<string, NetworkGateway>();
  /** Made when the first one is asked for: without DNS nobody does. */
  #virtual: VirtualServices | undefined;

  constructor(contents: DirectoryContents) {
    const byLabel = new Map<string, Workload[]>();
    for (const workload of contents.workloads) {
      this.#workloads.set(workload.uid, workload);
      for (const [name, value] of workload.labels) append(byLabel, labelKey(workload.namespace, name, value), workload);
      const gateway = workload.labels.get(GATEWAY_NAME_LABEL);
      if (gateway === undefined) this.#place(workload);
      else append(this.#instances, `${workload.namespace}/${gateway}`, workload);
    }
    // In their own order, which what else is there must not change.
    for (const workload of contents.workloads) if (workload.labels.has(GATEWAY_NAME_LABEL)) this.#place(workload);
    for (const waypoint of contents.waypoints) this.#waypoints.set(`${waypoint.namespace}/${waypoint.name}`, waypoint);
    for (const service of contents.services) {
      this.#services.set(service.uid, service);
      if (service.entry === undefined) for (const vip of service.vips) this.#servicesByVip.set(vip, service);
      const selected = select(service, byLabel);
      const endpoints = selected.length === 0 && service.entry !== undefined ? service.entry.endpoints : selected;
      this.#endpoints.set(service.uid, endpoints);
      for (const workload of selected) append(this.#servicesOf, workload.uid, service);
    }
    for (const gateway of contents.gateways ?? []) {
      if (!this.#gateways.has(gateway.network)) this.#gateways.set(gateway.network, gateway);
    }
    this.#entries = new ServiceEntries(contents.services);
  }

  /** The workload `namespace/name`. */
  workload(uid: string): Workload | undefined {
    return this.#workloads.get(uid);
  }

  /**
   * All workloads that answer at an address: several when they share it on different tunnel ports. Instances of waypoints come after
   * those that they stand before.
   */
  workloadsAt(ip: Ip): readonly Workload[] {
    return this.#workloadsByIp.get(ip) ?? [];
  }

  /** The service `namespace/name`. */
  service(uid: string): Service | undefined {
    return this.#services.get(uid);
  }

  /**
   * The service that a host name means: `name` (in the caller's namespace), `name.namespace`, `name.namespace.svc` or
   * `name.namespace.svc.cluster.local`, in any case, with or without the final dot; else the host of a ServiceEntry.
   */
  serviceByHost(host: string, callerNamespace: string): Service | undefined {
    const uid = serviceUidOfHost(host, callerNamespace);
    const service = uid === undefined ? undefined : this.#services.get(uid);
    // Whoever may write a ServiceEntry must not take over the name of a Service.
    if (service !== undefined && isVisible(service, callerNamespace)) return service;
    return this.#entries.byHost(host, callerNamespace);
  }

  /** The service that owns a cluster IP, a single address of a ServiceEntry, or to which a virtual address was given. */
  serviceByVip(ip: Ip, callerNamespace: string): Service | undefined {
    const owner = this.#servicesByVip.get(ip);
    if (owner !== undefined && isVisible(owner, callerNamespace)) return owner;
    const service = this.#entries.byAddress(ip, callerNamespace);
    if (service !== undefined || !mayBeVirtual(ip)) return service;
    const virtual = this.#virtualServices().byAddress.get(ip);
    if (virtual?.entry !== undefined) return this.#entries.byHost(virtual.hostname, callerNamespace);
    return virtual !== undefined && isVisible(virtual, callerNamespace) ? virtual : undefined;
  }

  /** Whether an address is a cluster IP, whoever may see its Service. */
  isClusterIp(ip: Ip): boolean {
    return this.#servicesByVip.has(ip);
  }

  /** The addresses under which DNS names a service that has none of its own; `undefined` for every other service. */
  virtualAddresses(service: Service): VirtualAddresses | undefined {
    return needsAddress(service) ? this.#virtualServices().byHost.get(service.hostname) : undefined;
  }

  /** The ServiceEntry with the narrowest block that holds an address. A workload that has the address comes before it. */
  serviceByBlock(ip: Ip, callerNamespace: string): Service | undefined {
    return this.#entries.byBlock(ip, callerNamespace);
  }

  /** The ServiceEntry that has an endpoint at an address, with the port of it that leads to `port` there. */
  serviceByEndpoint(ip: Ip, port: number, callerNamespace: string): readonly [Service, ServicePort] | undefined {
    for (const [service, workload] of this.#entries.withEndpointAt(ip, callerNamespace)) {
      const found = service.ports.find((candidate) => targetPort(service, candidate, workload) === port);
      if (found !== undefined) return [service, found];
    }
    return undefined;
  }

  /** The workloads that a service selects, or the places that a ServiceEntry names; healthy or not. */
  endpoints(service: Service): readonly Workload[] {
    return this.#endpoints.get(service.uid) ?? [];
  }

  /** The services that select a workload. */
  servicesOf(workload: Workload): readonly Service[] {
    return this.#servicesOf.get(workload.uid) ?? [];
  }

  /** The waypoint that a reference names; `undefined` when there is no such Gateway or it cannot be understood. */
  waypoint(ref: WaypointRef): Waypoint | undefined {
    return this.#waypoints.get(`${ref.namespace}/${ref.name}`);
  }

  /** The workloads that carry the waypoint's gateway-name label, in its namespace. */
  waypointInstances(ref: WaypointRef): readonly Workload[] {
    return this.#instances.get(`${ref.namespace}/${ref.name}`) ?? [];
  }

  /** The workloads through which a network is entered; `undefined` when no Gateway leads there. */
  networkGateway(network: string): readonly Workload[] | undefined {
    const gateway = this.#gateways.get(network);
    return gateway === undefined ? undefined : this.waypointInstances(gateway);
  }

  /** The waypoints that share the traffic of a reference: that one alone, unless its Gateway says otherwise. */
  waypointShares(ref: WaypointRef): readonly WaypointShare[] {
    const shares = this.waypoint(ref)?.shares ?? [];
    return shares.length === 0 ? [{ ref, weight: 1 }] : shares;
  }

  /** Whether traffic that is to go through `ref` may come through `gateway`. */
  mayStandFor(gateway: WaypointRef, ref: WaypointRef | undefined): boolean {
    if (ref === undefined) return false;
    if (isSameGateway(gateway, ref)) return true;
    return this.waypointShares(ref).some((share) => isSameGateway(gateway, share.ref));
  }

  /**
   * Every waypoint through which a workload may be reached: its own and those of the services that select it, with all
   * that share their traffic, each once.
   */
  waypointsBefore(workload: Workload): readonly WaypointRef[] {
    const refs = new Map<string, WaypointRef>();
    for (const { waypoint } of [workload, ...this.servicesOf(workload)]) {
      if (waypoint === undefined) continue;
      for (const { namespace, name } of [waypoint, ...this.waypointShares(waypoint).map(({ ref }) => ref)]) {
        refs.set(`${namespace}/${name}`, { namespace, name });
      }
    }
    return [...refs.values()];
  }

  workloads(): IterableIterator<Workload> {
    return this.#workloads.values();
  }

  services(): IterableIterator<Service> {
    return this.#services.values();
  }

  waypoints(): IterableIterator<Waypoint> {
    return this.#waypoints.values();
  }

  #place(workload: Workload): void {
    for (const ip of workload.addresses) append(this.#workloadsByIp, ip, workload);
  }

  #virtualServices(): VirtualServices {
    return (this.#virtual ??= virtualServices(this.#services.values()));
  }
}

/** The services that have virtual addresses. */
interface VirtualServices {
  readonly byHost: ReadonlyMap<string, VirtualAddresses>;
  readonly byAddress: ReadonlyMap<Ip, Service>;
}

function virtualServices(services: Iterable<Service>): VirtualServices {
  const needing = new Map<string, Service>();
  // Services come before ServiceEntries: the first of one name has it.
  for (const service of services) {
    if (needsAddress(service) && !needing.has(service.hostname)) needing.set(service.hostname, service);
  }
  const byHost = virtualAddresses(needing.keys());
  const byAddress = new Map<Ip, Service>();
  for (const [host, service] of needing) {
    const addresses = byHost.get(host);
    if (addresses !== undefined) byAddress.set(addresses.v4, service).set(addresses.v6, service);
  }
  return { byHost, byAddress };
}

function needsAddress({ vips, headless }: Service): boolean {
  return vips.length === 0 && !headless;
}

/** Whether two networks are known to be different ones: whoever says nothing is reached as if it were here. */
export function isOtherNetwork(a: string, b: string): boolean {
  return a !== b && a !== "" && b !== "";
}

/**
 * The port of the app behind a service port at one workload: the workload's own port of that name, else the target
 * port. `undefined` when the target port is a name that the workload does not have.
 */
export function targetPort(_service: Service, servicePort: ServicePort, workload: Workload): number | undefined {
  const target = servicePort.targetPort;
  if (typeof target === "string") return workload.ports.get(target) ?? workload.ports.get(servicePort.name);
  return workload.ports.get(servicePort.name) ?? target;
}

function isVisible({ exportedTo }: Service, namespace: string): boolean {
  return exportedTo === undefined || exportedTo.has(namespace);
}

/** Whether two references name one Gateway. */
export function isSameGateway(a: WaypointRef, b: WaypointRef): boolean {
  return a.name === b.name && a.namespace === b.namespace;
}

function serviceUidOfHost(host: string, callerNamespace: string): string | undefined {
  let name = host.toLowerCase();
  if (name.endsWith(".")) name = name.slice(0, -1);
  if (name.endsWith(`.svc.${CLUSTER_DOMAIN}`)) name = name.slice(0, -CLUSTER_DOMAIN.length - 1);
  const labels = name.split(".", 4);
  const [service, namespace, svc] = labels;
  if (service === undefined) return undefined;
  if (labels.length === 1) return `${callerNamespace}/${service}`;
  if (labels.length === 2 || (labels.length === 3 && svc === "svc")) return `${namespace}/${service}`;
  return undefined;
}

/** Workloads of the service's namespace with all labels of its selector, found through the rarest of those labels. */
function select(service: Service, byLabel: ReadonlyMap<string, Workload[]>): Workload[] {
  const selector = service.selector;
  if (selector === undefined || selector.size === 0) return [];
  let candidates: readonly Workload[] | undefined;
  for (const [name, value] of selector) {
    const bucket = byLabel.get(labelKey(service.namespace, name, value)) ?? [];
    if (candidates === undefined || bucket.length < candidates.length) candidates = bucket;
  }
  return (candidates ?? []).filter((workload) => {
    for (const [name, value] of selector) if (workload.labels.get(name) !== value) return false;
    return true;
  });
}

function labelKey(namespace: string, name: string, value: string): string {
  return `${namespace}\n${name}=${value}`;
}

function append<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
