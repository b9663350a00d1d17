// Pure. Where a connection goes next: the one function that knows tunnels, waypoints, passthrough and refusal.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { formatHostPort, type Ip } from "@culvert/shared/net/ip.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import type { TunnelGateway } from "@culvert/shared/tunnel/target.ts";
import { isOtherNetwork, targetPort } from "@culvert/shared/workload/directory.ts";
import type { Service, ServicePort, Waypoint, WaypointRef, Workload } from "@culvert/shared/workload/workload.ts";
import { identityOfWorkload } from "@culvert/shared/workload/workload-identity.ts";
import { throughGateways } from "./other-network.ts";

/** Where an app wants to go: an address, or a name that only the mesh may know. */
export type Destination =
  | { readonly kind: "ip"; readonly ip: Ip; readonly port: number }
  | { readonly kind: "name"; readonly host: string; readonly port: number };

/** Who asks: the part of this proxy's own identity that the answer depends on. */
export interface Self {
  readonly namespace: string;
  readonly trustDomain: TrustDomain;
  /** Network of the own workload; empty or absent: it does not say. */
  readonly network?: string;
}

/** One place that a connection may be sent to. */
export interface Endpoint {
  readonly workload: Workload;
  readonly ip: Ip;
  /** Port to dial: the tunnel listener, or the app itself when the workload is not in the mesh. */
  readonly port: number;
  /** Authority of the tunnel request; `undefined` when the workload is dialled in plain TCP. */
  readonly authority: string | undefined;
  /** Identities of which the peer must prove one. */
  readonly expected: readonly SpiffeId[];
  /** Set where the peer is in another network: `ip` and `port` are then those of an instance of its gateway. */
  readonly via?: TunnelGateway;
}

/** The instances of one of the waypoints that share traffic. */
export interface Share {
  readonly weight: number;
  readonly endpoints: readonly Endpoint[];
}

/** The answer: several endpoints of which one is to be picked, or a plain connection to what was asked for. */
export type Hop =
  | {
      readonly kind: "tunnel";
      /** The service that the app asked for, if it asked for one. */
      readonly service: Service | undefined;
      /** The waypoint that stands before the destination, if the way leads through one. */
      readonly waypoint: Waypoint | undefined;
      readonly endpoints: readonly [Endpoint, ...Endpoint[]];
      /** The same endpoints by waypoint, where several share the traffic: each connection is for one of them. */
      readonly shares?: readonly Share[];
    }
  | {
      readonly kind: "passthrough";
      readonly host: string;
      readonly port: number;
      /** The ServiceEntry that lets it pass; `undefined` for what no resource knows. */
      readonly service: Service | undefined;
    };

/** What to do with destinations that no resource knows. */
export type UnknownDestinations = "passthrough" | "refuse";

/**
 * Decides the next hop of a connection to `destination`.
 *
 * Mesh traffic never leaves the mesh because something is missing: a service without endpoints, a waypoint without
 * instances and a port that the service does not have are failures, not reasons to pass through.
 *
 * @param note called with each step of the reasoning, for `explain`; costs nothing when absent
 */
export function resolve(
  snapshot: Snapshot,
  self: Self,
  destination: Destination,
  unknown: UnknownDestinations,
  note?: (step: string) => void,
): Hop | Failure {
  const { directory } = snapshot;
  const { namespace } = self;
  const service =
    destination.kind === "name"
      ? directory.serviceByHost(destination.host, namespace)
      : directory.serviceByVip(destination.ip, namespace);
  if (service !== undefined) {
    const isVirtual = destination.kind === "ip" && !service.vips.includes(destination.ip);
    note?.(`${describe(destination)} is ${isVirtual ? "a virtual address of " : ""}${titleOf(service)}`);
    return toService(snapshot, self, service, destination, note);
  }
  if (destination.kind === "ip") {
    const { ip, port } = destination;
    const workload = workloadAt(directory.workloadsAt(ip), self);
    if (workload !== undefined) {
      note?.(`${describe(destination)} is an address of workload ${workload.uid}`);
      return toWorkload(snapshot, self, workload, ip, port, note);
    }
    // What an app has resolved by itself is known by the endpoints; they say more than the block around them.
    const direct = directory.serviceByEndpoint(ip, port, namespace);
    if (direct !== undefined) {
      const [entry, entryPort] = direct;
      note?.(`${describe(destination)} is an endpoint of port ${entryPort.port} of ${titleOf(entry)}`);
      return toPort(snapshot, self, entry, entryPort, destination, note);
    }
    const block = directory.serviceByBlock(ip, namespace);
    if (block !== undefined) {
      note?.(`${describe(destination)} is in a block of ${titleOf(block)}`);
      return toService(snapshot, self, block, destination, note);
    }
  }
  note?.(`${describe(destination)} is in no resource; unknown destinations: ${unknown}`);
  if (unknown === "refuse") return fail("EGRESS_REFUSED", describe(destination));
  return passthrough(destination, undefined);
}

function toService(
  snapshot: Snapshot,
  self: Self,
  service: Service,
  destination: Destination,
  note: ((step: string) => void) | undefined,
): Hop | Failure {
  const port = service.ports.find((candidate) => candidate.port === destination.port);
  if (port !== undefined) return toPort(snapshot, self, service, port, destination, note);
  const known = service.ports.map((candidate) => candidate.port).join(", ");
  const text = `${titleOf(service)} has no port ${destination.port} (it has ${known})`;
  return fail(service.entry === undefined ? "DESTINATION_UNKNOWN" : "EGRESS_REFUSED", text);
}

function toPort(
  snapshot: Snapshot,
  self: Self,
  service: Service,
  port: ServicePort,
  destination: Destination,
  note: ((step: string) => void) | undefined,
): Hop | Failure {
  const { entry } = service;
  if (entry?.notUnderstood !== undefined) {
    return fail("EGRESS_REFUSED", `${titleOf(service)} is not understood: ${entry.notUnderstood}`);
  }
  if (service.waypoint !== undefined) {
    const target = waypointTarget(service, port, destination);
    return toWaypoint(snapshot, self, service.waypoint, "service", target, { service, port: port.port }, note);
  }
  if (entry?.resolution === "none") {
    note?.("resolution NONE: the connection goes on to where it was made to");
    return passthrough(destination, service);
  }
  const endpoints = serviceEndpoints(snapshot, self, service, port, note);
  if (isFailure(endpoints)) return endpoints;
  // Endpoints that an app chose by address may differ, as the brokers of one cluster do.
  const chosen = endpoints.filter(
    ({ ip }) => entry !== undefined && destination.kind === "ip" && ip === destination.ip,
  );
  const [first, ...rest] = chosen.length > 0 ? chosen : endpoints;
  if (first === undefined) return fail("NO_HEALTHY_UPSTREAM", `${titleOf(service)} port ${port.port}`);
  return { kind: "tunnel", service, waypoint: undefined, endpoints: [first, ...rest] };
}

/** What a waypoint is asked for: the service by its address or name, or the very place where no endpoint is chosen. */
function waypointTarget(service: Service, port: ServicePort, destination: Destination): string {
  const { entry, hostname, vips } = service;
  if (entry === undefined) {
    // A virtual address means something to Culvert alone; the name means the same to every waypoint.
    const asked = destination.kind === "ip" && vips.includes(destination.ip) ? destination.ip : undefined;
    return formatHostPort(asked ?? vips[0] ?? hostname, port.port);
  }
  if (destination.kind === "name") return formatHostPort(nameOf(destination.host), port.port);
  // No one name stands for it: the waypoint finds the entry by the address again.
  if (entry.resolution === "none" || hostname.startsWith("*")) return formatHostPort(destination.ip, destination.port);
  return formatHostPort(hostname, port.port);
}

function passthrough(destination: Destination, service: Service | undefined): Hop {
  const host = destination.kind === "ip" ? destination.ip : destination.host;
  return { kind: "passthrough", host, port: destination.port, service };
}

function serviceEndpoints(
  snapshot: Snapshot,
  self: Self,
  service: Service,
  port: ServicePort,
  note: ((step: string) => void) | undefined,
): Endpoint[] | Failure {
  const endpoints: Endpoint[] = [];
  const remote: Workload[] = [];
  for (const workload of snapshot.directory.endpoints(service)) {
    const target = targetPort(service, port, workload);
    if (target === undefined) {
      note?.(`workload ${workload.uid} has no port named ${String(port.targetPort)}: left out`);
      continue;
    }
    if (!workload.healthy) {
      note?.(`workload ${workload.uid} is not healthy: left out`);
      continue;
    }
    if (isElsewhere(self, workload)) {
      if (workload.protocol === "hbone") remote.push(workload);
      continue;
    }
    for (const ip of workload.addresses) {
      const endpoint = endpointOf(self, workload, ip, target);
      if (isFailure(endpoint)) return endpoint;
      note?.(`endpoint ${workload.uid} at ${formatHostPort(endpoint.ip, endpoint.port)}, ${via(endpoint)}`);
      endpoints.push(endpoint);
    }
  }
  // A wildcard is no name that a gateway could be asked for.
  if (remote.length === 0 || service.hostname.startsWith("*")) return endpoints;
  const authority = formatHostPort(service.hostname, port.port);
  const others = throughGateways(snapshot.directory, self.trustDomain, authority, remote, note);
  return isFailure(others) ? others : [...endpoints, ...others];
}

/** Addresses of another network mean something else here, so a workload of the own one comes first. */
function workloadAt(workloads: readonly Workload[], self: Self): Workload | undefined {
  return workloads.find((workload) => !isElsewhere(self, workload)) ?? workloads[0];
}

function isElsewhere(self: Self, workload: Workload): boolean {
  return isOtherNetwork(workload.network, self.network ?? "");
}

function toWorkload(
  snapshot: Snapshot,
  self: Self,
  workload: Workload,
  ip: Ip,
  port: number,
  note: ((step: string) => void) | undefined,
): Hop | Failure {
  if (workload.waypoint !== undefined) {
    return toWaypoint(snapshot, self, workload.waypoint, "workload", formatHostPort(ip, port), undefined, note);
  }
  if (isElsewhere(self, workload)) {
    return fail("NO_HEALTHY_UPSTREAM", `${workload.uid} is in network ${workload.network}, where only services lead`);
  }
  const endpoint = endpointOf(self, workload, ip, port);
  if (isFailure(endpoint)) return endpoint;
  note?.(`endpoint ${workload.uid} at ${formatHostPort(endpoint.ip, endpoint.port)}, ${via(endpoint)}`);
  return { kind: "tunnel", service: undefined, waypoint: undefined, endpoints: [endpoint] };
}

function toWaypoint(
  snapshot: Snapshot,
  self: Self,
  ref: WaypointRef,
  traffic: "service" | "workload",
  target: string,
  asked: { readonly service: Service; readonly port: number } | undefined,
  note: ((step: string) => void) | undefined,
): Hop | Failure {
  const name = `${ref.namespace}/${ref.name}`;
  const waypoint = snapshot.directory.waypoint(ref);
  if (waypoint === undefined) return fail("WAYPOINT_UNAVAILABLE", `no Gateway ${name}`);
  note?.(`${traffic} traffic to ${target} goes through waypoint ${name}`);
  const shares: Share[] = [];
  for (const { ref: sharing, weight } of snapshot.directory.waypointShares(ref)) {
    if (waypoint.shares.length > 0) note?.(`weight ${weight} for waypoint ${sharing.namespace}/${sharing.name}`);
    const named = asked === undefined ? undefined : formatHostPort(asked.service.hostname, asked.port);
    const instances = waypointEndpoints(snapshot, self, sharing, target, named, note);
    if (isFailure(instances)) return instances;
    if (weight > 0 && instances.length > 0) shares.push({ weight, endpoints: instances });
  }
  const [first, ...rest] = shares.flatMap(({ endpoints }) => endpoints);
  if (first === undefined) return fail("WAYPOINT_UNAVAILABLE", `waypoint ${name} has no healthy instance`);
  const endpoints = [first, ...rest] as const;
  return { kind: "tunnel", service: asked?.service, waypoint, endpoints, ...(shares.length > 1 ? { shares } : {}) };
}

function waypointEndpoints(
  { directory }: Snapshot,
  self: Self,
  ref: WaypointRef,
  target: string,
  named: string | undefined,
  note: ((step: string) => void) | undefined,
): Endpoint[] | Failure {
  const endpoints: Endpoint[] = [];
  const remote: Workload[] = [];
  if (directory.waypoint(ref) === undefined) return endpoints;
  for (const workload of directory.waypointInstances(ref)) {
    if (!workload.healthy) continue;
    if (isElsewhere(self, workload)) {
      remote.push(workload);
      continue;
    }
    const expected = identityOfWorkload(workload, self.trustDomain);
    if (isFailure(expected)) return expected;
    for (const ip of workload.addresses) {
      note?.(`instance ${workload.uid} at ${formatHostPort(ip, workload.hbonePort)}, expecting ${expected}`);
      endpoints.push({ workload, ip, port: workload.hbonePort, authority: target, expected: [expected] });
    }
  }
  // A gateway finds by name alone, which an address of a workload is not.
  if (remote.length === 0 || named === undefined) return endpoints;
  const others = throughGateways(directory, self.trustDomain, named, remote, note);
  return isFailure(others) ? others : [...endpoints, ...others];
}

function endpointOf(self: Self, workload: Workload, ip: Ip, port: number): Endpoint | Failure {
  if (workload.protocol === "none") return { workload, ip, port, authority: undefined, expected: [] };
  const expected = identityOfWorkload(workload, self.trustDomain);
  if (isFailure(expected)) return expected;
  return { workload, ip, port: workload.hbonePort, authority: formatHostPort(ip, port), expected: [expected] };
}

/** A host name as an authority has it. */
function nameOf(host: string): string {
  const name = host.toLowerCase();
  return name.endsWith(".") ? name.slice(0, -1) : name;
}

function titleOf({ uid, hostname, namespace, entry }: Service): string {
  return entry === undefined ? `service ${uid} (${hostname})` : `ServiceEntry ${namespace}/${entry.name} (${hostname})`;
}

function via(endpoint: Endpoint): string {
  return endpoint.authority === undefined
    ? "plain TCP (not in the mesh)"
    : `tunnel to ${endpoint.authority}, expecting ${endpoint.expected.join(" or ")}`;
}

function describe(destination: Destination): string {
  return formatHostPort(destination.kind === "ip" ? destination.ip : destination.host, destination.port);
}
