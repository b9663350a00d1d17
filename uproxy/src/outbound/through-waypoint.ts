// Pure. The instances of a waypoint that a connection may take. Where they must stand is what their Gateway says; nothing else
// in this program knows that there are several placements.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { formatHostPort, type Ip } from "@culvert/shared/net/ip.ts";
import type { Directory } from "@culvert/shared/workload/directory.ts";
import { isOtherNetwork } from "@culvert/shared/workload/directory.ts";
import { instancesInPod, servingInstances } from "@culvert/shared/workload/placement.ts";
import { identityOfWorkload } from "@culvert/shared/workload/workload-identity.ts";
import type { Service, Waypoint, WaypointRef, Workload } from "@culvert/shared/workload/workload.ts";
import type { Choices, Endpoint, Hop, Self, Share } from "./hop.ts";
import { throughGateways } from "./other-network.ts";

/** An address of a workload that a waypoint stands before. */
export interface PlaceBehind {
  readonly workload: Workload;
  readonly ip: Ip;
}

/** What a waypoint is to be asked for. */
export interface WaypointUse {
  readonly ref: WaypointRef;
  readonly traffic: "service" | "workload";
  /** Authority of the tunnel request. */
  readonly target: string;
  readonly asked: { readonly service: Service; readonly port: number } | undefined;
  /** Where the waypoint may lead to; `outside`: to where no workload is. Asked for only where the answer depends on it. */
  readonly behind: () => readonly PlaceBehind[] | "outside";
}

/** What all instances are looked for with. */
interface Search {
  readonly directory: Directory;
  readonly self: Self;
  readonly use: WaypointUse;
  readonly note: ((step: string) => void) | undefined;
}

/** The hop to a waypoint, or to one of those that share its traffic. WAYPOINT_UNAVAILABLE when no instance may be used. */
export function throughWaypoint(
  directory: Directory,
  self: Self,
  use: WaypointUse,
  note: ((step: string) => void) | undefined,
): Hop | Failure {
  const { ref, traffic, target, asked } = use;
  const name = nameOf(ref);
  const waypoint = directory.waypoint(ref);
  if (waypoint === undefined) return fail("WAYPOINT_UNAVAILABLE", `no Gateway ${name}`);
  note?.(`${traffic} traffic to ${target} goes through waypoint ${name}`);
  const shares: Share[] = [];
  for (const { ref: sharing, weight } of directory.waypointShares(ref)) {
    if (waypoint.shares.length > 0) note?.(`weight ${weight} for waypoint ${nameOf(sharing)}`);
    const gateway = directory.waypoint(sharing);
    if (gateway === undefined) continue;
    const choices = choicesOf({ directory, self, use, note }, gateway);
    if (isFailure(choices)) return choices;
    if (weight > 0 && choices !== undefined) shares.push({ ...choices, weight });
  }
  const [first, ...others] = shares;
  if (first === undefined) return fail("WAYPOINT_UNAVAILABLE", `waypoint ${name} has no ${missing(waypoint, self)}`);
  const hop = { kind: "tunnel", service: asked?.service, waypoint, prefers: first.prefers } as const;
  if (others.length === 0) return { ...hop, endpoints: first.endpoints };
  const [endpoint, ...rest] = first.endpoints;
  const endpoints = [endpoint, ...rest, ...others.flatMap((share) => share.endpoints)] as const;
  return { ...hop, endpoints, shares: [first, ...others] };
}

/** What a connection may take of one waypoint; `undefined`: nothing. */
function choicesOf(search: Search, waypoint: Waypoint): Choices | Failure | undefined {
  const { placement, withoutLocal, forServiceAccount } = waypoint;
  const { self, use, note } = search;
  switch (placement) {
    case "sidecar":
      note?.("placement sidecar: the instance in the endpoint's own pod");
      return chooseFrom(sidecars(search, waypoint), use.asked?.service.prefers);
    case "node": {
      const own = self.node === undefined ? "the own node, which is not known" : `the own node, ${self.node}`;
      note?.(
        `placement node: instances on ${own}${withoutLocal === "refuse" ? "" : ", others when none of them can be"}`,
      );
      const isNear = ({ node }: Workload): boolean => self.node !== undefined && node === self.node;
      const instances = servingInstances(search.directory, waypoint);
      if (withoutLocal === "use-another") return chooseFrom(among(search, instances), "same-node");
      for (const { uid, node } of instances.filter((instance) => !isNear(instance))) {
        note?.(`instance ${uid} is on ${node ?? "no known node"}: left out`);
      }
      return chooseFrom(among(search, instances.filter(isNear)), undefined);
    }
    case "service-account":
      note?.(`placement service-account: instances of account ${waypoint.namespace}/${forServiceAccount}`);
      return chooseFrom(among(search, servingInstances(search.directory, waypoint)), undefined);
    default:
      return chooseFrom(among(search, servingInstances(search.directory, waypoint)), undefined);
  }
}

function chooseFrom(
  endpoints: readonly Endpoint[] | Failure,
  prefers: Choices["prefers"],
): Choices | Failure | undefined {
  if (isFailure(endpoints)) return endpoints;
  const [first, ...rest] = endpoints;
  return first === undefined ? undefined : { endpoints: [first, ...rest], prefers };
}

/** Every address of the healthy ones of these instances. */
function among(search: Search, instances: readonly Workload[]): Endpoint[] | Failure {
  const { self, note } = search;
  const endpoints: Endpoint[] = [];
  const remote: Workload[] = [];
  for (const instance of instances) {
    if (!instance.healthy) note?.(`instance ${instance.uid} is not healthy: left out`);
    else if (isOtherNetwork(instance.network, self.network ?? "")) remote.push(instance);
    else {
      for (const ip of instance.addresses) {
        const endpoint = instanceAt(search, instance, ip);
        if (isFailure(endpoint)) return endpoint;
        endpoints.push(endpoint);
      }
    }
  }
  return withRemote(search, endpoints, remote);
}

/**
 * For each place behind the waypoint the instance in its own pod, which has the weight and the distance of that place, so that
 * choosing an instance is choosing an endpoint. A pod without one cannot be reached. What lies outside has no pod: there it is the
 * caller's own.
 */
function sidecars(search: Search, waypoint: Waypoint): Endpoint[] | Failure {
  const { directory, self, use, note } = search;
  const behind = use.behind();
  if (behind === "outside") {
    note?.("the destination lies outside and has no pod: the instance in the own one");
    const own = (self.addresses ?? []).flatMap((ip) => instancesInPod(directory, waypoint, ip, self.network ?? ""));
    return among(search, [...new Set(own)]);
  }
  const endpoints = new Map<string, Endpoint>();
  const remote: Workload[] = [];
  for (const { workload, ip } of behind) {
    const instances = instancesInPod(directory, waypoint, ip, workload.network).filter(({ healthy }) => healthy);
    if (instances.length === 0) note?.(`endpoint ${workload.uid} has no healthy instance in its pod (${ip}): left out`);
    for (const instance of instances) {
      const { weight, node, locality } = workload;
      // Several workloads of one address share what stands before them.
      const key = formatHostPort(ip, instance.hbonePort);
      const standing = { ...instance, node, locality, weight: weight + (endpoints.get(key)?.workload.weight ?? 0) };
      if (isOtherNetwork(workload.network, self.network ?? "")) remote.push(standing);
      else {
        const endpoint = instanceAt(search, standing, ip, `, in the pod of ${workload.uid}`);
        if (isFailure(endpoint)) return endpoint;
        endpoints.set(key, endpoint);
      }
    }
  }
  return withRemote(search, [...endpoints.values()], remote);
}

function instanceAt({ self, use, note }: Search, workload: Workload, ip: Ip, where = ""): Endpoint | Failure {
  const expected = identityOfWorkload(workload, self.trustDomain);
  if (isFailure(expected)) return expected;
  note?.(`instance ${workload.uid} at ${formatHostPort(ip, workload.hbonePort)}${where}, expecting ${expected}`);
  return { workload, ip, port: workload.hbonePort, authority: use.target, expected: [expected] };
}

/** A gateway finds by name alone, which an address of a workload is not. */
function withRemote(search: Search, endpoints: Endpoint[], remote: readonly Workload[]): Endpoint[] | Failure {
  const { directory, self, use, note } = search;
  if (remote.length === 0 || use.asked === undefined) return endpoints;
  const authority = formatHostPort(use.asked.service.hostname, use.asked.port);
  const others = throughGateways(directory, self.trustDomain, authority, remote, note);
  return isFailure(others) ? others : [...endpoints, ...others];
}

/** What a waypoint has none of, in words. */
function missing({ placement, withoutLocal, namespace, forServiceAccount }: Waypoint, self: Self): string {
  const instance = "healthy instance";
  if (placement === "sidecar") return `${instance} in the pod of any endpoint (placement sidecar)`;
  if (placement === "service-account") return `${instance} of account ${namespace}/${forServiceAccount}`;
  if (placement === "remote" || withoutLocal === "use-another") return instance;
  return self.node === undefined
    ? `${instance} on the own node, which no label of the own workload names (placement node)`
    : `${instance} on the own node ${self.node} (placement node)`;
}

function nameOf({ namespace, name }: WaypointRef): string {
  return `${namespace}/${name}`;
}
