// Pure. Which resources the instances of a waypoint need, and who is one of them.
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import { isSameGateway } from "../../workload/directory.ts";
import type { WaypointRef } from "../../workload/workload.ts";
import type { Resource, WorkloadEntryResource } from "../resources/resource.ts";
import type { ResourceIndex } from "./resource-index.ts";
import {
  addressTopic,
  EVERYTHING,
  hostTopics,
  insideTopic,
  NAMED_PLACES,
  referencesOf,
  targetTopic,
  waypointTopic,
} from "./topics.ts";
import { isDestination, isOf, Walk, type Named, type Scope } from "./walk.ts";

/**
 * What the instances of a Gateway need: the services and workloads behind it, with their endpoints, routes, backends and
 * policies. One that lets out what no resource names exactly (a block, a wildcard, resolution NONE) must know every address of
 * the mesh, so that none of them passes for the outside; so must one with a workload that is given by a DNS name.
 */
export function waypointScope(index: ResourceIndex, gateway: WaypointRef): Scope {
  const walk = new Walk(index);
  const serving = new ServedWalk(walk, gateway);
  serving.walk();
  return walk;
}

/** Whether an identity is that of an instance of a Gateway. */
export function isInstance(index: ResourceIndex, { namespace, name }: WaypointRef, id: SpiffeId): boolean {
  return new Walk(index).instances({ namespace, name }).some((instance) => isOf(instance, id));
}

/** The services and workloads behind one waypoint. */
class ServedWalk {
  readonly #walk: Walk;
  readonly #gateway: WaypointRef;
  /** Gateways whose traffic may come through this one. */
  readonly #standsFor: WaypointRef[] = [];
  readonly #services = new Set<Named>();
  #knowsAll = false;

  constructor(walk: Walk, gateway: WaypointRef) {
    this.#walk = walk;
    this.#gateway = gateway;
  }

  walk(): void {
    const walk = this.#walk;
    walk.waypoint(this.#gateway);
    for (const instance of walk.instances(this.#gateway)) this.#workload(instance);
    this.#standsFor.push(this.#gateway);
    for (const other of walk.under(waypointTopic(this.#gateway.namespace, this.#gateway.name))) {
      if (other.kind !== "Gateway") continue;
      walk.include(other);
      this.#standsFor.push(other.metadata);
    }
    for (const { namespace, name } of this.#standsFor) {
      for (const user of walk.under(waypointTopic(namespace, name))) {
        if (user.kind === "Namespace") {
          for (const each of walk.under(insideTopic("destinations", user.metadata.name))) this.#mayServe(each);
        } else this.#mayServe(user);
      }
    }
    for (const policy of walk.under(waypointTopic(this.#gateway.namespace, this.#gateway.name))) this.#policy(policy);
    for (const named of walk.under(NAMED_PLACES)) {
      walk.include(named);
      if (named.kind === "WorkloadEntry") for (const service of walk.selecting(named)) walk.include(service);
    }
    if (this.#knowsAll) for (const each of walk.under(EVERYTHING)) walk.include(each);
  }

  #mayServe(resource: Resource): void {
    if (!isDestination(resource)) return;
    const ref = this.#walk.waypointOf(resource);
    if (ref === undefined || !this.#standsFor.some((each) => isSameGateway(each, ref))) return;
    if (resource.kind === "WorkloadEntry") this.#workload(resource);
    else this.#serve(resource);
  }

  #serve(service: Named): void {
    const walk = this.#walk;
    walk.include(service);
    walk.endpoints(service);
    this.#guard(service);
    for (const workload of walk.selected(service)) this.#workload(workload);
    for (const vip of service.vips) walk.sharing(vip);
    const { namespace, name } = service.metadata;
    const kind = service.kind === "Service" ? "service" : "entry";
    for (const resource of walk.under(targetTopic(kind, namespace, name))) this.#route(resource);
    this.#backendTls(service);
    if (service.kind !== "ServiceEntry") return;
    this.#knowsAll ||= service.resolution === "none" || service.cidrs.length > 0;
    this.#knowsAll ||= service.hosts.some((host) => host.startsWith("*"));
    for (const topic of service.hosts.flatMap((host) => hostTopics(host, namespace))) {
      for (const other of walk.under(topic)) walk.include(other);
    }
    for (const { address } of service.endpoints) if (address.kind === "ip") walk.sharing(address.ip);
  }

  /** A workload by its own address: what else is there, and every service that leads to it has a say. */
  #workload(workload: WorkloadEntryResource): void {
    const walk = this.#walk;
    walk.include(workload);
    // Which addresses a name has, and who else has them, only those know who ask for it.
    this.#knowsAll ||= workload.address.kind === "name";
    const others = workload.address.kind === "ip" ? walk.under(addressTopic(workload.address.ip)) : [];
    for (const each of new Set([workload, ...others])) {
      walk.include(each);
      if (each.kind !== "WorkloadEntry") continue;
      for (const service of walk.selecting(each)) {
        walk.include(service);
        this.#guard(service);
      }
    }
  }

  /** The policies that name a service. */
  #guard(service: Named): void {
    if (this.#services.has(service)) return;
    this.#services.add(service);
    const { namespace, name } = service.metadata;
    const kind = service.kind === "Service" ? "service" : "entry";
    for (const policy of this.#walk.under(targetTopic(kind, namespace, name))) this.#policy(policy);
  }

  #policy(resource: Resource): void {
    if (resource.kind !== "AuthorizationPolicy" || resource.policy.target.kind !== "refs") return;
    this.#walk.include(resource);
    // The others that it names are only to be there: one that is missing would be told.
    for (const { kind, name } of resource.policy.target.refs) {
      const other = this.#walk.one(kind, resource.metadata.namespace, name);
      if (other !== undefined) this.#walk.include(other);
    }
  }

  #route(resource: Resource): void {
    if (!("route" in resource)) return;
    const walk = this.#walk;
    const { namespace } = resource.metadata;
    walk.include(resource);
    for (const parent of resource.route.parents) {
      const other = walk.one(parent.kind === "service" ? "Service" : "ServiceEntry", parent.namespace, parent.name);
      if (other !== undefined) walk.include(other);
    }
    if ("gateways" in resource) {
      for (const parent of resource.gateways) {
        const gateway = walk.one("Gateway", parent.namespace, parent.name);
        if (gateway !== undefined) walk.include(gateway);
      }
    }
    const { backends, filters } = referencesOf(resource);
    for (const name of filters) {
      const filter = walk.one("HTTPFilter", namespace, name);
      if (filter !== undefined) walk.include(filter);
    }
    for (const backend of backends) this.#backend(backend);
  }

  #backend({ kind, namespace, name }: { kind: "service" | "host"; namespace: string; name: string }): void {
    const walk = this.#walk;
    const found = new Set<Resource | undefined>();
    if (kind === "service") found.add(walk.one("Service", namespace, name));
    else
      for (const topic of hostTopics(name.toLowerCase(), namespace))
        walk.under(topic).forEach((each) => found.add(each));
    for (const resource of found) {
      if (resource?.kind !== "Service" && resource?.kind !== "ServiceEntry") continue;
      walk.include(resource);
      walk.endpoints(resource);
      this.#backendTls(resource);
      // A name that only a wildcard has is looked up outside, and must not lead inside.
      if (resource.kind === "ServiceEntry") this.#knowsAll ||= resource.resolution === "none";
    }
  }

  /** How TLS is spoken to a service, with the certificates that are named for it. */
  #backendTls({ kind, metadata }: Named): void {
    const walk = this.#walk;
    if (kind !== "Service") return;
    for (const policy of walk.under(targetTopic("service", metadata.namespace, metadata.name))) {
      if (policy.kind !== "BackendTLSPolicy") continue;
      walk.include(policy);
      for (const { name } of policy.policy.targets) {
        const other = walk.one("Service", metadata.namespace, name);
        if (other !== undefined) walk.include(other);
      }
      for (const root of policy.roots === "system" ? [] : policy.roots) {
        const source = walk.one(root.kind, metadata.namespace, root.name);
        if (source !== undefined) walk.include(source);
      }
    }
  }
}
