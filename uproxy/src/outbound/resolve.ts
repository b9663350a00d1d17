// Pure. Where a connection goes next: the one function that knows tunnels, waypoints, passthrough and refusal.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { workloadId, type SpiffeId, type TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { formatHostPort, type Ip } from "@culvert/shared/net/ip.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { targetPort } from "@culvert/shared/workload/directory.ts";
import type { Service, ServicePort, Waypoint, WaypointRef, Workload } from "@culvert/shared/workload/workload.ts";

/** Where an app wants to go: an address, or a name that only the mesh may know. */
export type Destination =
  | { readonly kind: "ip"; readonly ip: Ip; readonly port: number }
  | { readonly kind: "name"; readonly host: string; readonly port: number };

/** Who asks: the part of this proxy's own identity that the answer depends on. */
export interface Self {
  readonly namespace: string;
  readonly trustDomain: TrustDomain;
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
}

/** The answer: several endpoints of which one is to be picked, or a plain connection out of the mesh. */
export type Hop =
  | {
      readonly kind: "tunnel";
      /** The service that the app asked for, if it asked for one. */
      readonly service: Service | undefined;
      /** The waypoint that all endpoints are instances of, if the way leads through one. */
      readonly waypoint: Waypoint | undefined;
      readonly endpoints: readonly [Endpoint, ...Endpoint[]];
    }
  | { readonly kind: "passthrough"; readonly host: string; readonly port: number };

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
  const service =
    destination.kind === "name"
      ? directory.serviceByHost(destination.host, self.namespace)
      : directory.serviceByVip(destination.ip);
  if (service !== undefined) {
    const isVirtual = destination.kind === "ip" && !service.vips.includes(destination.ip);
    note?.(
      `${describe(destination)} is ${isVirtual ? "a virtual address of " : ""}service ${service.uid} (${service.hostname})`,
    );
    return toService(snapshot, self, service, destination, note);
  }
  if (destination.kind === "ip") {
    const workload = directory.workloadsAt(destination.ip)[0];
    if (workload !== undefined) {
      note?.(`${describe(destination)} is an address of workload ${workload.uid}`);
      return toWorkload(snapshot, self, workload, destination.ip, destination.port, note);
    }
  }
  note?.(`${describe(destination)} is in no resource; unknown destinations: ${unknown}`);
  if (unknown === "refuse") return fail("EGRESS_REFUSED", describe(destination));
  return {
    kind: "passthrough",
    host: destination.kind === "ip" ? destination.ip : destination.host,
    port: destination.port,
  };
}

function toService(
  snapshot: Snapshot,
  self: Self,
  service: Service,
  destination: Destination,
  note: ((step: string) => void) | undefined,
): Hop | Failure {
  const port = service.ports.find((candidate) => candidate.port === destination.port);
  if (port === undefined) {
    const known = service.ports.map((candidate) => candidate.port).join(", ");
    return fail("DESTINATION_UNKNOWN", `service ${service.uid} has no port ${destination.port} (it has ${known})`);
  }
  if (service.waypoint !== undefined) {
    // A virtual address means something to Culvert alone; the name means the same to every waypoint.
    const asked = destination.kind === "ip" && service.vips.includes(destination.ip) ? destination.ip : undefined;
    const target = formatHostPort(asked ?? service.vips[0] ?? service.hostname, destination.port);
    return toWaypoint(snapshot, self, service.waypoint, "service", target, service, note);
  }
  const endpoints = serviceEndpoints(snapshot, self, service, port, note);
  if (isFailure(endpoints)) return endpoints;
  const [first, ...rest] = endpoints;
  if (first === undefined) return fail("NO_HEALTHY_UPSTREAM", `service ${service.uid} port ${port.port}`);
  return { kind: "tunnel", service, waypoint: undefined, endpoints: [first, ...rest] };
}

function serviceEndpoints(
  snapshot: Snapshot,
  self: Self,
  service: Service,
  port: ServicePort,
  note: ((step: string) => void) | undefined,
): Endpoint[] | Failure {
  const endpoints: Endpoint[] = [];
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
    for (const ip of workload.addresses) {
      const endpoint = endpointOf(self, workload, ip, target);
      if (isFailure(endpoint)) return endpoint;
      note?.(`endpoint ${workload.uid} at ${formatHostPort(endpoint.ip, endpoint.port)}, ${via(endpoint)}`);
      endpoints.push(endpoint);
    }
  }
  return endpoints;
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
  service: Service | undefined,
  note: ((step: string) => void) | undefined,
): Hop | Failure {
  const name = `${ref.namespace}/${ref.name}`;
  const waypoint = snapshot.directory.waypoint(ref);
  if (waypoint === undefined) return fail("WAYPOINT_UNAVAILABLE", `no Gateway ${name}`);
  note?.(`${traffic} traffic to ${target} goes through waypoint ${name}`);
  const endpoints: Endpoint[] = [];
  for (const workload of snapshot.directory.waypointInstances(ref)) {
    if (!workload.healthy) continue;
    const expected = workloadId(self.trustDomain, workload.namespace, workload.serviceAccount);
    if (isFailure(expected)) return expected;
    for (const ip of workload.addresses) {
      note?.(`instance ${workload.uid} at ${formatHostPort(ip, workload.hbonePort)}, expecting ${expected}`);
      endpoints.push({ workload, ip, port: workload.hbonePort, authority: target, expected: [expected] });
    }
  }
  const [first, ...rest] = endpoints;
  if (first === undefined) return fail("WAYPOINT_UNAVAILABLE", `waypoint ${name} has no healthy instance`);
  return { kind: "tunnel", service, waypoint, endpoints: [first, ...rest] };
}

function endpointOf(self: Self, workload: Workload, ip: Ip, port: number): Endpoint | Failure {
  if (workload.protocol === "none") return { workload, ip, port, authority: undefined, expected: [] };
  const expected = workloadId(self.trustDomain, workload.namespace, workload.serviceAccount);
  if (isFailure(expected)) return expected;
  return { workload, ip, port: workload.hbonePort, authority: formatHostPort(ip, port), expected: [expected] };
}

function via(endpoint: Endpoint): string {
  return endpoint.authority === undefined
    ? "plain TCP (not in the mesh)"
    : `tunnel to ${endpoint.authority}, expecting ${endpoint.expected.join(" or ")}`;
}

function describe(destination: Destination): string {
  return formatHostPort(destination.kind === "ip" ? destination.ip : destination.host, destination.port);
}
