// Pure. Which resources somebody needs: each scope is closed under what `buildSnapshot` and those who ask the snapshot look up, so
// that a snapshot of the scope alone answers as that of all resources would.
import { isFailure } from "../../failure/failure.ts";
import { trustDomainOf, workloadOf, type SpiffeId, type TrustDomain } from "../../identity/spiffe-id.ts";
import { parseIp, type Ip } from "../../net/ip.ts";
import { ROOT_NAMESPACE, selects } from "../../policy/applies.ts";
import { CLUSTER_DOMAIN } from "../../workload/directory.ts";
import type { WaypointRef } from "../../workload/workload.ts";
import { identityOfWorkload } from "../../workload/workload-identity.ts";
import type { ParsedResources, Resource, WorkloadEntryResource } from "../resources/resource.ts";
import { titleOf } from "../resources/title.ts";
import { ResourceIndex } from "./resource-index.ts";
import {
  accountTopic,
  addressTopic,
  EVERYTHING,
  hostTopics,
  insideTopic,
  ipTopics,
  NAMED_PLACES,
  referencesOf,
  targetTopic,
  waypointTopic,
} from "./topics.ts";
import { mayBeSeen, Walk, type Named, type Scope } from "./walk.ts";

/** What a uproxy says of itself; it only chooses among the workloads of its identity. */
export interface OwnHints {
  /** `namespace/name` of its WorkloadEntry. */
  readonly workload: string | undefined;
  readonly addresses: readonly Ip[];
}

/**
 * What connections of a namespace to a destination need: whatever `resolve` and DNS may find under that name or address, as far
 * as the namespace may see it, with endpoints, waypoints and gateways into other networks.
 *
 * @param key `host/NAME`, as an app says it in lower case, or `ip/ADDRESS`
 */
export function destinationScope(index: ResourceIndex, callerNamespace: string, key: string): Scope {
  const walk = new Walk(index, callerNamespace);
  const slash = key.indexOf("/");
  const rest = key.slice(slash + 1);
  const ip = key.slice(0, slash) === "ip" ? parseIp(rest) : undefined;
  const topics = ip === undefined ? namesOf(rest, callerNamespace) : ipTopics(ip);
  for (const topic of topics) {
    for (const resource of walk.under(topic)) {
      if (isDestination(resource) && mayBeSeen(resource, callerNamespace)) walk.reach(resource);
    }
  }
  return walk;
}

/**
 * What the uproxy of an identity needs whoever calls: its workloads, what selects them, the policies that hold for them, and
 * the waypoints through which callers come.
 */
export function ownScope(index: ResourceIndex, id: SpiffeId, hints: OwnHints): Scope {
  const walk = new Walk(index);
  const account = workloadOf(id);
  if (account === undefined) return walk;
  const { namespace } = account;
  const root = walk.one("Namespace", "", namespace);
  if (root !== undefined) walk.include(root);
  for (const workload of ownWorkloads(walk, id, hints)) {
    walk.reach(workload);
    for (const service of walk.selecting(workload)) {
      walk.include(service);
      const ref = walk.waypointOf(service);
      if (ref !== undefined) walk.waypoint(ref);
      // Another one that comes first for a name has it, and callers ask by name.
      if (service.kind !== "ServiceEntry") continue;
      for (const topic of service.hosts.flatMap((host) => hostTopics(host, namespace))) {
        for (const other of walk.under(topic)) if (mayBeSeen(other, namespace)) walk.include(other);
      }
    }
    for (const each of new Set([namespace, ROOT_NAMESPACE])) {
      for (const resource of walk.under(insideTopic("policies", each))) {
        if (resource.kind !== "AuthorizationPolicy") continue;
        const { target } = resource.policy;
        if (target.kind === "namespace" || (target.kind === "selector" && selects(target.labels, workload.labels))) {
          walk.include(resource);
        }
      }
      for (const resource of walk.under(insideTopic("peers", each))) {
        if (resource.kind !== "PeerAuthentication") continue;
        const { selector } = resource.peerAuthentication;
        if (selector === undefined || selects(selector, workload.labels)) walk.include(resource);
      }
    }
  }
  return walk;
}

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
  const own = trustDomainOf(id);
  return new Walk(index).instances({ namespace, name }).some((instance) => isOf(instance, id, own));
}

/** What an instance of a Gateway holds of a folder: with placement `service-account` no more than what it serves. */
export function heldResources(all: ParsedResources, gateway: WaypointRef): ParsedResources {
  const own = all.resources.find(
    ({ kind, metadata: { namespace, name } }) =>
      kind === "Gateway" && namespace === gateway.namespace && name === gateway.name,
  );
  const isNarrow = own?.kind === "Gateway" && own.waypoint?.placement === "service-account";
  return isNarrow ? waypointResources(all, gateway) : all;
}

/** The resources of a waypoint's scope, in their order. */
export function waypointResources({ resources, problems }: ParsedResources, gateway: WaypointRef): ParsedResources {
  const { ids } = waypointScope(new ResourceIndex(resources), gateway);
  return {
    resources: resources.filter((resource) => ids.has(titleOf(resource))),
    problems: problems.filter(({ resource }) => ids.has(resource)),
  };
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
    if (ref === undefined || !this.#standsFor.some((each) => isSame(each, ref))) return;
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

/** The names that DNS and `resolve` try for one that an app says, and the headless service that it may name a workload of. */
function namesOf(host: string, callerNamespace: string): ReadonlySet<string> {
  const topics = new Set<string>();
  const suffixes = [`.${callerNamespace}.svc.${CLUSTER_DOMAIN}`, `.svc.${CLUSTER_DOMAIN}`, `.${CLUSTER_DOMAIN}`];
  const spellings = [host];
  for (const end of suffixes) if (host.endsWith(end)) spellings.push(host.slice(0, -end.length));
  for (const name of spellings) {
    for (const topic of hostTopics(name, callerNamespace)) topics.add(topic);
    const dot = name.indexOf(".");
    if (dot < 0) continue;
    for (const topic of hostTopics(name.slice(dot + 1), callerNamespace)) topics.add(topic);
  }
  return topics;
}

/** The workloads of an identity that its hints leave, as uproxy itself looks for the own one. */
function ownWorkloads(walk: Walk, id: SpiffeId, { workload, addresses }: OwnHints): readonly WorkloadEntryResource[] {
  const account = workloadOf(id);
  if (account === undefined) return [];
  const own = trustDomainOf(id);
  const found: WorkloadEntryResource[] = [];
  const consider = (resource: Resource | undefined): void => {
    if (resource?.kind === "WorkloadEntry" && isOf(resource, id, own)) found.push(resource);
  };
  if (workload !== undefined) {
    const [namespace = "", name = ""] = workload.split("/", 2);
    consider(walk.one("WorkloadEntry", namespace, name));
    return found;
  }
  for (const ip of addresses) for (const resource of walk.under(addressTopic(ip))) consider(resource);
  // Which addresses a name has is found out by those who ask for it.
  for (const resource of walk.under(accountTopic(account.namespace, account.serviceAccount))) {
    if (resource.kind === "WorkloadEntry" && resource.address.kind === "name") consider(resource);
  }
  return found;
}

function isOf(
  { metadata, serviceAccount, trustDomain }: WorkloadEntryResource,
  id: SpiffeId,
  own: TrustDomain,
): boolean {
  const identity = identityOfWorkload({ namespace: metadata.namespace, serviceAccount, trustDomain }, own);
  return !isFailure(identity) && identity === id;
}

function isDestination(resource: Resource): resource is Named | WorkloadEntryResource {
  return resource.kind === "Service" || resource.kind === "ServiceEntry" || resource.kind === "WorkloadEntry";
}

function isSame(a: WaypointRef, b: WaypointRef): boolean {
  return a.namespace === b.namespace && a.name === b.name;
}
