// Pure. Where a connection goes next: the one function that knows tunnels, waypoints, passthrough and refusal.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { formatHostPort, type Ip } from "@culvert/shared/net/ip.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { isOtherNetwork, targetPort, type Directory } from "@culvert/shared/workload/directory.ts";
import type { Service, ServicePort, Workload } from "@culvert/shared/workload/workload.ts";
import { identityOfWorkload } from "@culvert/shared/workload/workload-identity.ts";
import type { Destination, Endpoint, Hop, Self, UnknownDestinations } from "./hop.ts";
import { throughGateways } from "./other-network.ts";
import { throughWaypoint, type PlaceBehind } from "./through-waypoint.ts";

/** What is asked, and by whom; the same from the first step to the last. */
interface Question {
  readonly directory: Directory;
  readonly self: Self;
  readonly destination: Destination;
  /** Told each step of the reasoning, for `explain`. */
  readonly note: ((step: string) => void) | undefined;
}

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
  const question: Question = { directory, self, destination, note };
  const service =
    destination.kind === "name"
      ? directory.serviceByHost(destination.host, namespace)
      : directory.serviceByVip(destination.ip, namespace);
  if (service !== undefined) {
    const isVirtual = destination.kind === "ip" && !service.vips.includes(destination.ip);
    note?.(`${describe(destination)} is ${isVirtual ? "a virtual address of " : ""}${titleOf(service)}`);
    return toService(question, service);
  }
  if (destination.kind === "ip") {
    const { ip, port } = destination;
    const workload = workloadAt(directory.workloadsAt(ip), self);
    if (workload !== undefined) {
      note?.(`${describe(destination)} is an address of workload ${workload.uid}`);
      return toWorkload(question, workload, ip, port);
    }
    // What an app has resolved by itself is known by the endpoints; they say more than the block around them.
    const direct = directory.serviceByEndpoint(ip, port, namespace);
    if (direct !== undefined) {
      const [entry, entryPort] = direct;
      note?.(`${describe(destination)} is an endpoint of port ${entryPort.port} of ${titleOf(entry)}`);
      return toPort(question, entry, entryPort);
    }
    const block = directory.serviceByBlock(ip, namespace);
    if (block !== undefined) {
      note?.(`${describe(destination)} is in a block of ${titleOf(block)}`);
      return toService(question, block);
    }
  }
  note?.(`${describe(destination)} is in no resource; unknown destinations: ${unknown}`);
  if (unknown === "refuse") return fail("EGRESS_REFUSED", describe(destination));
  return passthrough(destination, undefined);
}

function toService(question: Question, service: Service): Hop | Failure {
  const { destination } = question;
  const port = service.ports.find((candidate) => candidate.port === destination.port);
  if (port !== undefined) return toPort(question, service, port);
  const known = service.ports.map((candidate) => candidate.port).join(", ");
  const text = `${titleOf(service)} has no port ${destination.port} (it has ${known})`;
  return fail(service.entry === undefined ? "DESTINATION_UNKNOWN" : "EGRESS_REFUSED", text);
}

function toPort(question: Question, service: Service, port: ServicePort): Hop | Failure {
  const { directory, self, destination, note } = question;
  const { entry } = service;
  if (entry?.notUnderstood !== undefined) {
    return fail("EGRESS_REFUSED", `${titleOf(service)} is not understood: ${entry.notUnderstood}`);
  }
  if (service.waypoint !== undefined) {
    const use = {
      ref: service.waypoint,
      traffic: "service",
      target: waypointTarget(service, port, destination),
      asked: { service, port: port.port },
      behind: () => placesBehind(question, service, port),
    } as const;
    return throughWaypoint(directory, self, use, note);
  }
  if (entry?.resolution === "none") {
    note?.("resolution NONE: the connection goes on to where it was made to");
    return passthrough(destination, service);
  }
  const endpoints = serviceEndpoints(question, service, port);
  if (isFailure(endpoints)) return endpoints;
  // Endpoints that an app chose by address may differ, as the brokers of one cluster do.
  const chosen = endpoints.filter(
    ({ ip }) => entry !== undefined && destination.kind === "ip" && ip === destination.ip,
  );
  const [first, ...rest] = chosen.length > 0 ? chosen : endpoints;
  if (first === undefined) return fail("NO_HEALTHY_UPSTREAM", `${titleOf(service)} port ${port.port}`);
  const { prefers } = service;
  return { kind: "tunnel", service, waypoint: undefined, endpoints: [first, ...rest], prefers };
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

/** The addresses to which the waypoint before a service may lead. */
function placesBehind(
  { directory, destination }: Question,
  service: Service,
  port: ServicePort,
): readonly PlaceBehind[] | "outside" {
  const { entry } = service;
  if (entry?.location === "external" || entry?.resolution === "none") return "outside";
  const usable = directory
    .endpoints(service)
    .filter((workload) => workload.healthy && targetPort(service, port, workload) !== undefined);
  const places = usable.flatMap((workload) => workload.addresses.map((ip) => ({ workload, ip })));
  const chosen = places.filter(({ ip }) => destination.kind === "ip" && ip === destination.ip);
  return chosen.length > 0 ? chosen : places;
}

function passthrough(destination: Destination, service: Service | undefined): Hop {
  const host = destination.kind === "ip" ? destination.ip : destination.host;
  return { kind: "passthrough", host, port: destination.port, service };
}

function serviceEndpoints(
  { directory, self, note }: Question,
  service: Service,
  port: ServicePort,
): Endpoint[] | Failure {
  const endpoints: Endpoint[] = [];
  const remote: Workload[] = [];
  for (const workload of directory.endpoints(service)) {
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
  const others = throughGateways(directory, self.trustDomain, authority, remote, note);
  return isFailure(others) ? others : [...endpoints, ...others];
}

/** Addresses of another network mean something else here, so a workload of the own one comes first. */
function workloadAt(workloads: readonly Workload[], self: Self): Workload | undefined {
  return workloads.find((workload) => !isElsewhere(self, workload)) ?? workloads[0];
}

function isElsewhere(self: Self, workload: Workload): boolean {
  return isOtherNetwork(workload.network, self.network ?? "");
}

function toWorkload({ directory, self, note }: Question, workload: Workload, ip: Ip, port: number): Hop | Failure {
  if (workload.waypoint !== undefined) {
    const target = formatHostPort(ip, port);
    const behind = (): readonly PlaceBehind[] => [{ workload, ip }];
    const use = { ref: workload.waypoint, traffic: "workload", target, asked: undefined, behind } as const;
    return throughWaypoint(directory, self, use, note);
  }
  if (isElsewhere(self, workload)) {
    return fail("NO_HEALTHY_UPSTREAM", `${workload.uid} is in network ${workload.network}, where only services lead`);
  }
  const endpoint = endpointOf(self, workload, ip, port);
  if (isFailure(endpoint)) return endpoint;
  note?.(`endpoint ${workload.uid} at ${formatHostPort(endpoint.ip, endpoint.port)}, ${via(endpoint)}`);
  return { kind: "tunnel", service: undefined, waypoint: undefined, endpoints: [endpoint], prefers: undefined };
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
