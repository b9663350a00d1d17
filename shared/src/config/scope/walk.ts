// Pure. The way from one resource to those that are looked up with it, and which topics were asked for on it: what is found there
// later would be part of the same scope. A scope is closed under what `buildSnapshot` and those who ask the snapshot look up, so that
// a snapshot of the scope alone answers as that of all resources would.
import { trustDomainOf, type SpiffeId } from "../../identity/spiffe-id.ts";
import type { Ip } from "../../net/ip.ts";
import { GATEWAY_NAME_LABEL } from "../../workload/directory.ts";
import { selects } from "../../policy/applies.ts";
import { namedWaypoint, waypointOf } from "../../workload/waypoint-of.ts";
import type { WaypointRef } from "../../workload/workload.ts";
import { virtualCandidates } from "../../workload/virtual-address.ts";
import { hasIdentity } from "../../workload/workload-identity.ts";
import type {
  GatewayResource,
  Resource,
  ServiceEntryResource,
  ServiceResource,
  WorkloadEntryResource,
} from "../resources/resource.ts";
import { titleOf } from "../resources/title.ts";
import type { ResourceIndex } from "./resource-index.ts";
import { addressTopic, idTopic, labelTopic, networkOf, networkTopic, selectsTopic, virtualHosts } from "./topics.ts";

/** What somebody needs: ids of resources, and the topics by which they were found. */
export interface Scope {
  readonly ids: ReadonlySet<string>;
  readonly topics: ReadonlySet<string>;
}

/** A Service or ServiceEntry. */
export type Named = ServiceResource | ServiceEntryResource;

/** Whether a namespace may see a destination at all (`exportTo`). */
export function mayBeSeen(resource: Resource, namespace: string): boolean {
  if (resource.kind !== "Service" && resource.kind !== "ServiceEntry") return true;
  return resource.exportedTo === undefined || resource.exportedTo.has(namespace);
}

/** Whether a resource is one that connections may lead to. */
export function isDestination(resource: Resource): resource is Named | WorkloadEntryResource {
  return resource.kind === "Service" || resource.kind === "ServiceEntry" || resource.kind === "WorkloadEntry";
}

/** Whether a workload is to prove an identity, which says itself what its own trust domain is. */
export function isOf({ metadata, serviceAccount, trustDomain }: WorkloadEntryResource, id: SpiffeId): boolean {
  return hasIdentity({ namespace: metadata.namespace, serviceAccount, trustDomain }, id, trustDomainOf(id));
}

/** See the head of the file. */
export class Walk implements Scope {
  readonly ids = new Set<string>();
  readonly topics = new Set<string>();
  readonly #index: ResourceIndex;
  readonly #viewer: string | undefined;
  readonly #done = new Set<string>();

  /** @param viewer namespace whose view decides what may be taken in; all may when there is none */
  constructor(index: ResourceIndex, viewer?: string) {
    this.#index = index;
    this.#viewer = viewer;
  }

  /** What is under a topic, now; later it would belong to the scope. */
  under(topic: string): ReadonlySet<Resource> {
    this.topics.add(topic);
    return this.#index.under(topic);
  }

  /** The one resource of that name. */
  one<K extends Resource["kind"]>(
    kind: K,
    namespace: string,
    name: string,
  ): Extract<Resource, { kind: K }> | undefined {
    for (const resource of this.under(idTopic(kind, namespace, name))) {
      return resource as Extract<Resource, { kind: K }>;
    }
    return undefined;
  }

  /** Takes in a resource with what it is read together with: its Namespace, the Gateways that it names. Leads no further. */
  include(resource: Resource): void {
    const id = titleOf(resource);
    if (this.ids.has(id)) return;
    this.ids.add(id);
    const { kind, metadata } = resource;
    if (kind === "Service" || kind === "ServiceEntry" || kind === "WorkloadEntry") {
      const labels = kind === "WorkloadEntry" ? resource.labels : metadata.labels;
      const namespace = this.one("Namespace", "", metadata.namespace);
      if (namespace !== undefined) this.include(namespace);
      this.#gateway(namedWaypoint(labels, metadata.namespace));
      for (const host of virtualHosts(resource)) this.#virtual(host);
      // Of several of one namespace for one host the first has it.
      if (kind === "ServiceEntry") for (const host of resource.hosts) this.#sameHost(host, resource);
    } else if (kind === "Namespace") this.#gateway(namedWaypoint(metadata.labels, metadata.name));
    else if (kind === "Gateway") for (const { ref } of resource.waypoint?.shares ?? []) this.#gateway(ref);
  }

  /** The workloads that a service selects, and the ways into their networks. */
  endpoints(service: Named): void {
    if (!this.#first("endpoints", service)) return;
    if (service.kind === "ServiceEntry") for (const place of service.endpoints) this.#network(networkOf(place));
    for (const workload of this.selected(service)) {
      this.include(workload);
      this.#network(networkOf(workload));
    }
  }

  /** The workloads of a service's selector, found through the rarest of its labels. */
  selected({ metadata, selector }: Named): readonly WorkloadEntryResource[] {
    let rarest: { readonly topic: string; readonly size: number } | undefined;
    for (const [name, value] of selector ?? []) {
      const topic = labelTopic(metadata.namespace, name, value);
      const { size } = this.#index.under(topic);
      if (rarest === undefined || size < rarest.size) rarest = { topic, size };
    }
    if (rarest === undefined || selector === undefined) return [];
    const found: WorkloadEntryResource[] = [];
    for (const resource of this.under(rarest.topic)) {
      if (resource.kind === "WorkloadEntry" && selects(selector, resource.labels)) found.push(resource);
    }
    return found;
  }

  /** The services that select a workload. */
  selecting({ metadata, labels }: WorkloadEntryResource): readonly Named[] {
    const found: Named[] = [];
    for (const [name, value] of labels) {
      for (const resource of this.under(selectsTopic(metadata.namespace, name, value))) {
        if (resource.kind !== "Service" && resource.kind !== "ServiceEntry") continue;
        if (resource.selector !== undefined && selects(resource.selector, labels)) found.push(resource);
      }
    }
    return found;
  }

  /** Takes in a destination, and all by which a connection to it finds its way. */
  reach(destination: Named | WorkloadEntryResource): void {
    if (!this.#first("reach", destination)) return;
    this.include(destination);
    if (destination.kind === "WorkloadEntry") this.#network(networkOf(destination));
    else this.endpoints(destination);
    const ref = this.waypointOf(destination);
    if (ref !== undefined) this.waypoint(ref);
  }

  /** A waypoint, those that share its traffic, and the instances of all. */
  waypoint(ref: WaypointRef): void {
    const gateway = this.#gateway(ref);
    const shares = gateway?.waypoint?.shares ?? [];
    for (const each of [ref, ...shares.map((share) => share.ref)]) {
      this.#gateway(each);
      for (const instance of this.instances(each)) {
        this.include(instance);
        this.#network(networkOf(instance));
      }
    }
  }

  /** The workloads that are instances of a Gateway. */
  instances({ namespace, name }: WaypointRef): readonly WorkloadEntryResource[] {
    const found: WorkloadEntryResource[] = [];
    for (const resource of this.under(labelTopic(namespace, GATEWAY_NAME_LABEL, name))) {
      if (resource.kind === "WorkloadEntry") found.push(resource);
    }
    return found;
  }

  /** The waypoint of a destination, as `buildSnapshot` works it out. */
  waypointOf(destination: Named | WorkloadEntryResource): WaypointRef | undefined {
    const { kind, metadata } = destination;
    const { namespace } = metadata;
    const isWorkload = kind === "WorkloadEntry";
    const labels = isWorkload ? destination.labels : metadata.labels;
    const namespaceLabels = this.one("Namespace", "", namespace)?.metadata.labels;
    return waypointOf(
      { kind: isWorkload ? "workload" : "service", namespace, labels, namespaceLabels },
      (ref) => this.one("Gateway", ref.namespace, ref.name)?.waypoint?.serves,
    );
  }

  /** Whatever else has an address, without its surroundings being followed. */
  sharing(ip: Ip): void {
    for (const resource of this.under(addressTopic(ip))) this.include(resource);
  }

  #gateway(ref: WaypointRef | "none" | undefined): GatewayResource | undefined {
    if (ref === undefined || ref === "none") return undefined;
    const gateway = this.one("Gateway", ref.namespace, ref.name);
    if (gateway !== undefined) this.include(gateway);
    return gateway;
  }

  #network(network: string): void {
    if (network === "" || this.#done.has(`network ${network}`)) return;
    this.#done.add(`network ${network}`);
    for (const gateway of this.under(networkTopic(network))) {
      this.include(gateway);
      const { namespace, name } = gateway.metadata;
      for (const instance of this.instances({ namespace, name })) this.include(instance);
    }
  }

  /** Names that meet at an address move on to the next one, so each must know those that it meets. */
  #virtual(host: string): void {
    for (const ip of virtualCandidates(host)) {
      let meets = false;
      for (const resource of this.under(addressTopic(ip))) {
        const hosts = virtualHosts(resource);
        if (hosts.length === 0 || hosts.includes(host) || !this.#mayInclude(resource)) continue;
        meets = true;
        this.include(resource);
      }
      if (!meets) return;
    }
  }

  #sameHost(host: string, { metadata }: ServiceEntryResource): void {
    for (const other of this.under(`host ${host}`)) {
      if (other.metadata.namespace === metadata.namespace && this.#mayInclude(other)) this.include(other);
    }
  }

  #mayInclude(resource: Resource): boolean {
    return this.#viewer === undefined || mayBeSeen(resource, this.#viewer);
  }

  #first(step: string, resource: Resource): boolean {
    const key = `${step} ${titleOf(resource)}`;
    if (this.#done.has(key)) return false;
    this.#done.add(key);
    return true;
  }
}
