// Pure. What the authority of a tunnel request means to this waypoint: something it serves, or a refusal. It is never an
// open relay: what no resource puts behind this Gateway is not dialled.
import type { PathNormalization } from "@culvert/shared/config/process/process-config.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { formatHostPort, isHostOnly, type Ip } from "@culvert/shared/net/ip.ts";
import type { Authority } from "@culvert/shared/tunnel/authority.ts";
import { otherAccountThanOwn, ownInstances, servesNoneOf, servesNot, type OwnPlace } from "./own-placement.ts";
import { isSameGateway, targetPort, type Directory } from "@culvert/shared/workload/directory.ts";
import { isBesideSomebody } from "@culvert/shared/workload/placement.ts";
import { mayBeVirtual } from "@culvert/shared/workload/virtual-address.ts";
import type { AppProtocol, Service, ServicePort, WaypointRef, Workload } from "@culvert/shared/workload/workload.ts";

/** Which waypoint this is. */
export interface WaypointSelf {
  readonly gateway: WaypointRef;
  readonly id: SpiffeId;
  readonly trustDomain: TrustDomain;
  /** Trust domains whose names are names of our own. */
  readonly aliases: ReadonlySet<TrustDomain>;
  /** Where this process can be reached: which instance it is. */
  readonly place: OwnPlace;
  /** See `otherAccountThanOwn`: it is not asked for the time being. */
  readonly isLeaving?: boolean;
  /** It is told only of what it serves: what it knows nothing of may be there all the same. */
  readonly holdsScope?: boolean;
  readonly pathNormalization: PathNormalization;
}

/** Who asks, as its certificate proved it. */
export interface Caller {
  /** `undefined` only for an explanation that names no caller. */
  readonly id: SpiffeId | undefined;
  /** Namespace of an identity of our own trust domain; names of another domain mean nothing here. */
  readonly namespace: string | undefined;
}

/** What a tunnel leads to. Routes belong to services alone: an address of a workload is that workload (GEP-1294). */
export type Destination =
  | {
      readonly kind: "service";
      readonly service: Service;
      readonly port: ServicePort;
      /** The address that was asked for, where that is more than a name of the service: see `ServiceEntry`. */
      readonly at: Ip | undefined;
      /** The name that was asked for, likewise: below a wildcard there are many. */
      readonly host: string | undefined;
    }
  | {
      readonly kind: "workload";
      readonly workload: Workload;
      readonly ip: Ip;
      readonly port: number;
      /** All services that select the workload: what their policies refuse is refused here too. */
      readonly services: readonly Service[];
      readonly appProtocol: AppProtocol;
    };

/** By what an authority is read; the same from the first step to the last. */
interface Reading {
  readonly directory: Directory;
  readonly self: WaypointSelf;
  /** What it would mean if this waypoint stood before it, as it once did. */
  readonly isPast: boolean;
}

/** Ports that the mesh captures on or is reached by: never an application. */
const PROXY_PORTS: ReadonlySet<number> = new Set([15001, 15006, 15008]);

/**
 * Resolves an authority of the forms of HBONE: `VIP:port` and `hostname:port` of a service, `address:port` of a workload.
 *
 * DESTINATION_UNKNOWN when no resource knows it or another waypoint serves it, SELF_CALL when it is this waypoint or a
 * proxy's own port, LOOP_DETECTED when the caller is this waypoint.
 *
 * @param isPast what it would mean if this waypoint stood before it, as it once did
 */
export function resolveDestination(
  directory: Directory,
  self: WaypointSelf,
  authority: Authority,
  caller: Caller,
  isPast = false,
): Destination | Failure {
  if (caller.id === self.id && !sharesIdentity(directory, self)) {
    return fail("LOOP_DETECTED", `the caller is this waypoint (${caller.id})`);
  }
  const refused = otherAccountThanOwn(directory, self);
  if (refused !== undefined) return refused;
  const reading: Reading = { directory, self, isPast };
  const { host, port } = authority;
  // An identity of another domain has no namespace here: it sees the entries that are there for all.
  const namespace = caller.namespace ?? "";
  if (authority.kind === "name") {
    const service = directory.serviceByHost(host, namespace);
    if (service === undefined) return fail("DESTINATION_UNKNOWN", formatHostPort(host, port));
    return toService(reading, service, authority);
  }
  const ip = authority.host;
  const service = directory.serviceByVip(ip, namespace);
  if (service !== undefined) return toService(reading, service, authority);
  if (directory.workloadsAt(ip).length > 0) return toWorkload(reading, ip, port);
  const direct = directory.serviceByEndpoint(ip, port, namespace);
  if (direct !== undefined) return toPort(reading, ...direct, authority);
  const block = directory.serviceByBlock(ip, namespace);
  if (block !== undefined) return toService(reading, block, authority);
  return toWorkload(reading, ip, port);
}

/**
 * Whether an address that a name of the outside resolves to lies there: who may ask for any name below a wildcard may have one that
 * means this host, or a place of the mesh past its uproxy.
 */
export function isOutside(directory: Directory, ip: Ip): boolean {
  return !isHostOnly(ip) && !mayBeVirtual(ip) && !directory.isClusterIp(ip) && directory.workloadsAt(ip).length === 0;
}

/** `ns/name` of a Gateway. */
export function gatewayUid(ref: WaypointRef): string {
  return `${ref.namespace}/${ref.name}`;
}

/** `name.ns` of a Gateway, as one token. */
export function gatewayToken(ref: WaypointRef): string {
  return `${ref.name}.${ref.namespace}`;
}

/** The service, or the workload, and the port of a destination, for logs. */
export function describeDestination(destination: Destination): string {
  return destination.kind === "service"
    ? `service ${destination.service.uid} port ${destination.port.port}`
    : `workload ${destination.workload.uid} port ${destination.port}`;
}

/** What is spoken at a destination, as far as it is declared. */
export function protocolOf(destination: Destination): AppProtocol {
  return destination.kind === "service" ? destination.port.appProtocol : destination.appProtocol;
}

/** A waypoint beside a workload, or of one account, has that account's identity: its callers may too. */
function sharesIdentity(directory: Directory, self: WaypointSelf): boolean {
  const placement = directory.waypoint(self.gateway)?.placement;
  if (placement === "sidecar" || placement === "service-account") return true;
  return ownInstances(directory, self).some((instance) => isBesideSomebody(directory, instance));
}

function toService(reading: Reading, service: Service, asked: Authority): Destination | Failure {
  const servicePort = service.ports.find((candidate) => candidate.port === asked.port);
  if (servicePort === undefined) return fail("DESTINATION_UNKNOWN", `service ${service.uid} has no port ${asked.port}`);
  return toPort(reading, service, servicePort, asked);
}

function toPort(
  { directory, self, isPast }: Reading,
  service: Service,
  port: ServicePort,
  asked: Authority,
): Destination | Failure {
  const { entry } = service;
  if (!isPast && !directory.mayStandFor(self.gateway, service.waypoint)) {
    const served = service.waypoint === undefined ? "no waypoint" : `waypoint ${gatewayUid(service.waypoint)}`;
    return fail("DESTINATION_UNKNOWN", `service ${service.uid} has ${served}, this is ${gatewayUid(self.gateway)}`);
  }
  const refused = servesNoneOf(directory, self, service);
  if (refused !== undefined) return refused;
  if (entry === undefined) return { kind: "service", service, port, at: undefined, host: undefined };
  if (entry.notUnderstood !== undefined) {
    return fail("EGRESS_REFUSED", `ServiceEntry ${service.namespace}/${entry.name}: ${entry.notUnderstood}`);
  }
  if (entry.resolution === "none") {
    // A block may be as wide as the Internet. What only this host reaches by that address is no business of its callers.
    const isOwn = asked.kind === "ip" && isHostOnly(asked.host);
    if (isOwn || PROXY_PORTS.has(port.port)) return fail("SELF_CALL", formatHostPort(asked.host, port.port));
  }
  const isAddress = asked.kind === "ip";
  return {
    kind: "service",
    service,
    port,
    at: isAddress ? asked.host : undefined,
    host: isAddress ? undefined : asked.host,
  };
}

function toWorkload({ directory, self, isPast }: Reading, ip: Ip, port: number): Destination | Failure {
  const asked = formatHostPort(ip, port);
  const all = directory.workloadsAt(ip);
  const instances = directory.waypointInstances(self.gateway).filter((instance) => all.includes(instance));
  const here = all.filter((workload) => !instances.includes(workload));
  const served = here.filter(
    (workload) =>
      isPast || directory.waypointsBefore(workload).some((waypoint) => isSameGateway(waypoint, self.gateway)),
  );
  if (PROXY_PORTS.has(port) || served.some((workload) => workload.hbonePort === port)) return fail("SELF_CALL", asked);
  // Workloads that share an address are told apart by their ports; a port that none of them claims may be anybody's.
  const claimants = all.length > 1 ? here.filter((workload) => hasTargetPort(directory, workload, port)) : here;
  const [workload, other] = claimants;
  if (workload === undefined && instances.length > 0) return fail("SELF_CALL", `${asked} is this waypoint`);
  if (workload !== undefined && other !== undefined) {
    return fail("DESTINATION_UNKNOWN", `${asked} may be workload ${workload.uid} or ${other.uid}`);
  }
  if (workload === undefined || !served.includes(workload)) {
    return fail("DESTINATION_UNKNOWN", `${asked} is no address behind waypoint ${gatewayUid(self.gateway)}`);
  }
  if (instances.some((instance) => instance.hbonePort === workload.hbonePort)) {
    return fail("SELF_CALL", `workload ${workload.uid} is reached through this waypoint's own port`);
  }
  const refused = servesNot(directory, self, workload);
  if (refused !== undefined) return refused;
  const services = directory.servicesOf(workload);
  return { kind: "workload", workload, ip, port, services, appProtocol: declaredProtocol(workload, services, port) };
}

function hasTargetPort(directory: Directory, workload: Workload, port: number): boolean {
  return directory.servicesOf(workload).some((service) => portsBehind(workload, service, port).length > 0);
}

/** The one protocol that all services which lead to the port declare. */
function declaredProtocol(workload: Workload, services: readonly Service[], port: number): AppProtocol {
  const declared = services.flatMap((service) => portsBehind(workload, service, port).map((each) => each.appProtocol));
  const [first] = declared;
  return first !== undefined && declared.every((protocol) => protocol === first) ? first : "unspecified";
}

function portsBehind(workload: Workload, service: Service, port: number): ServicePort[] {
  return service.ports.filter((candidate) => targetPort(service, candidate, workload) === port);
}
