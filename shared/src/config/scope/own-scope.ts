// Pure. Which resources a uproxy needs for itself, whoever calls.
import { workloadOf, type SpiffeId, type WorkloadName } from "../../identity/spiffe-id.ts";
import type { Ip } from "../../net/ip.ts";
import { ROOT_NAMESPACE, selects } from "../../policy/applies.ts";
import type { Resource, WorkloadEntryResource } from "../resources/resource.ts";
import type { ResourceIndex } from "./resource-index.ts";
import { accountTopic, addressTopic, hostTopics, insideTopic } from "./topics.ts";
import { isOf, mayBeSeen, Walk, type Named, type Scope } from "./walk.ts";

/** What a uproxy says of itself; it only chooses among the workloads of its identity. */
export interface OwnHints {
  /** `namespace/name` of its WorkloadEntry. */
  readonly workload: string | undefined;
  readonly addresses: readonly Ip[];
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
  for (const workload of ownWorkloads(walk, id, account, hints)) {
    walk.reach(workload);
    for (const service of walk.selecting(workload)) takeService(walk, service, namespace);
    for (const each of new Set([namespace, ROOT_NAMESPACE])) takePolicies(walk, each, workload.labels);
  }
  return walk;
}

/** A service by which callers come, with its waypoint. */
function takeService(walk: Walk, service: Named, namespace: string): void {
  walk.include(service);
  const ref = walk.waypointOf(service);
  if (ref !== undefined) walk.waypoint(ref);
  // Another one that comes first for a name has it, and callers ask by name.
  if (service.kind !== "ServiceEntry") return;
  for (const topic of service.hosts.flatMap((host) => hostTopics(host, namespace))) {
    for (const other of walk.under(topic)) if (mayBeSeen(other, namespace)) walk.include(other);
  }
}

/** The policies of a namespace that hold for a workload with these labels. */
function takePolicies(walk: Walk, namespace: string, labels: WorkloadEntryResource["labels"]): void {
  for (const resource of walk.under(insideTopic("policies", namespace))) {
    if (resource.kind !== "AuthorizationPolicy") continue;
    const { target } = resource.policy;
    if (target.kind === "namespace" || (target.kind === "selector" && selects(target.labels, labels))) {
      walk.include(resource);
    }
  }
  for (const resource of walk.under(insideTopic("peers", namespace))) {
    if (resource.kind !== "PeerAuthentication") continue;
    const { selector } = resource.peerAuthentication;
    if (selector === undefined || selects(selector, labels)) walk.include(resource);
  }
}

/** The workloads of an identity that its hints leave, as uproxy itself looks for the own one. */
function ownWorkloads(
  walk: Walk,
  id: SpiffeId,
  account: WorkloadName,
  { workload, addresses }: OwnHints,
): readonly WorkloadEntryResource[] {
  const found: WorkloadEntryResource[] = [];
  const consider = (resource: Resource | undefined): void => {
    if (resource?.kind === "WorkloadEntry" && isOf(resource, id)) found.push(resource);
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
