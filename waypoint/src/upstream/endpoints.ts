// Pure. The places that requests of a service can be sent to, with how to reach each: tunnel or plain TCP.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { formatHostPort, parseIp, type Ip } from "@culvert/shared/net/ip.ts";
import { isOtherNetwork, targetPort, type Directory } from "@culvert/shared/workload/directory.ts";
import type { AppProtocol, Service, ServicePort, Workload } from "@culvert/shared/workload/workload.ts";
import { hasIdentity, identityOfWorkload } from "@culvert/shared/workload/workload-identity.ts";
import type { Endpoint } from "../exchange-services.ts";
import type { BackendTlsUse } from "../mesh/backend-tls.ts";
import type { WaypointSelf } from "../mesh/destination.ts";
import { servedAccount } from "../mesh/own-placement.ts";
import type { Crowd } from "../tenants/crowd.ts";

/** Requests in flight at one endpoint. Outlives snapshots, so that a change of configuration forgets no load. */
export interface EndpointLoad {
  inFlight: number;
  /** Once there are many. */
  crowd: Crowd | undefined;
}

/**
 * How an endpoint is reached: through its uproxy, which must prove `expected`, by plain TCP, or by plain TCP to those addresses of a
 * name that lie outside.
 */
export type Reach =
  | {
      readonly kind: "tunnel";
      readonly ip: Ip;
      readonly port: number;
      readonly authority: string;
      readonly expected: SpiffeId;
    }
  | { readonly kind: "plain"; readonly ip: Ip }
  | { readonly kind: "name"; readonly host: string; readonly isOutside: (ip: Ip) => boolean };

/** One place that requests or connections can be sent to. */
export interface UpstreamEndpoint extends Endpoint {
  readonly workload: Workload;
  /** `undefined` where only a name is known. */
  readonly ip: Ip | undefined;
  /** Port of the application. */
  readonly port: number;
  readonly reach: Reach;
  /** The policy by which TLS is spoken to the application; `undefined`: none is. */
  readonly tls: BackendTlsUse | undefined;
  /** Share of the traffic relative to the others, more than 0. */
  readonly weight: number;
  readonly load: EndpointLoad;
}

/** The load of every endpoint by its key, carried from one snapshot to the next. */
export class EndpointLoads {
  readonly #own = new Map<string, EndpointLoad>();
  readonly #before: ReadonlyMap<string, EndpointLoad>;

  /** @param before loads of the snapshot that this one takes the place of; what is not asked for again is forgotten */
  constructor(before?: EndpointLoads) {
    this.#before = before === undefined ? new Map() : before.#own;
  }

  of(key: string): EndpointLoad {
    let load = this.#own.get(key);
    if (load === undefined) {
      load = this.#before.get(key) ?? { inFlight: 0, crowd: undefined };
      this.#own.set(key, load);
    }
    return load;
  }
}

/** What endpoints are made from, the same for all of a snapshot. */
export interface EndpointContext {
  readonly directory: Directory;
  readonly trustDomain: TrustDomain;
  readonly loads: EndpointLoads;
  /** Own instances and the `ip:port` of their tunnels: never a destination, else requests would come back. */
  readonly instances: ReadonlySet<Workload>;
  readonly ownTunnels: ReadonlySet<string>;
  /** Of the own instances: workloads of other networks cannot be reached. */
  readonly network: string;
  /** The only identity of which workloads are led to; `undefined`: all are. */
  readonly account: SpiffeId | undefined;
}

/** The context of a snapshot, for the waypoint whose Gateway is `gateway`. */
export function endpointContext(
  directory: Directory,
  self: Pick<WaypointSelf, "trustDomain" | "gateway" | "isLeaving">,
  loads: EndpointLoads,
): EndpointContext {
  const { trustDomain, gateway } = self;
  const instances = directory.waypointInstances(gateway);
  const ownTunnels = instances.flatMap((each) => each.addresses.map((ip) => formatHostPort(ip, each.hbonePort)));
  const network = instances[0]?.network ?? "";
  const own = { instances: new Set(instances), ownTunnels: new Set(ownTunnels) };
  return {
    directory,
    trustDomain,
    loads,
    ...own,
    network,
    account: servedAccount(directory, self),
  };
}

/**
 * The endpoints of a service port: every address of every healthy workload that has the target port. A workload with
 * several addresses shares its weight among them.
 */
export function serviceEndpoints(
  context: EndpointContext,
  service: Service,
  servicePort: ServicePort,
  tls: BackendTlsUse | undefined,
): UpstreamEndpoint[] {
  const endpoints: UpstreamEndpoint[] = [];
  const speaks = spokenAs(servicePort.appProtocol, tls);
  const account = service.entry?.location === "external" ? undefined : context.account;
  for (const workload of context.directory.endpoints(service)) {
    const port = targetPort(service, servicePort, workload);
    if (port === undefined || !usable(context, workload)) continue;
    if (account !== undefined && !hasIdentity(workload, account, context.trustDomain)) continue;
    for (const ip of workload.addresses) {
      const endpoint = makeEndpoint(context, workload, ip, port, speaks, tls);
      if (!isFailure(endpoint)) endpoints.push(endpoint);
    }
  }
  return endpoints;
}

/** The one endpoint of a connection to a workload's own address. */
export function workloadEndpoint(
  context: EndpointContext,
  workload: Workload,
  ip: Ip,
  port: number,
  appProtocol: AppProtocol,
): UpstreamEndpoint | Failure {
  if (isOwn(context, workload)) return fail("SELF_CALL", `${workload.uid} is reached through this waypoint's own port`);
  if (!usable(context, workload)) return fail("NO_HEALTHY_UPSTREAM", `workload ${workload.uid} is not healthy`);
  return makeEndpoint(context, workload, ip, port, spokenAs(appProtocol, undefined), undefined);
}

/** An address or name that a ServiceEntry lets pass as it was asked for. Its load is not kept: there are too many of them. */
export function passEndpoint(
  { namespace, entry, hostname }: Service,
  asked: string,
  { port, appProtocol }: ServicePort,
  isOutside: (ip: Ip) => boolean,
): UpstreamEndpoint {
  const ip = parseIp(asked);
  const address = formatHostPort(ip ?? asked, port);
  const name = entry?.name ?? hostname;
  const workload: Workload = {
    uid: `${namespace}/${name}`,
    namespace,
    name,
    serviceAccount: "",
    addresses: ip === undefined ? [] : [ip],
    hostname: undefined,
    labels: new Map(),
    protocol: "none",
    hbonePort: 0,
    ports: new Map(),
    weight: 1,
    healthy: true,
    waypoint: undefined,
    requireWaypoint: false,
    node: undefined,
    locality: { region: undefined, zone: undefined, subzone: undefined },
    network: "",
  };
  const key = `tcp ${address}`;
  const reach: Reach = ip === undefined ? { kind: "name", host: asked, isOutside } : { kind: "plain", ip };
  const speaks = spokenAs(appProtocol, undefined);
  return {
    key,
    address,
    speaks,
    workload,
    ip,
    port,
    reach,
    tls: undefined,
    weight: 1,
    load: { inFlight: 0, crowd: undefined },
  };
}

function usable(context: EndpointContext, workload: Workload): boolean {
  const isHere = !isOtherNetwork(workload.network, context.network);
  return workload.healthy && isHere && workload.weight > 0 && !isOwn(context, workload);
}

function isOwn(context: EndpointContext, workload: Workload): boolean {
  return (
    context.instances.has(workload) ||
    (workload.protocol === "hbone" &&
      workload.addresses.some((ip) => context.ownTunnels.has(formatHostPort(ip, workload.hbonePort))))
  );
}

/** Which version of HTTP is spoken on a port of a protocol; inside TLS both sides agree on one, unless it is declared HTTP/2. */
function spokenAs(appProtocol: AppProtocol, tls: BackendTlsUse | undefined): Endpoint["speaks"] {
  if (tls !== undefined && appProtocol !== "http2" && appProtocol !== "grpc") return "alpn";
  if (appProtocol === "http") return "http1";
  return ["http2", "grpc", "grpc-web"].includes(appProtocol) ? "http2" : "either";
}

function makeEndpoint(
  context: EndpointContext,
  workload: Workload,
  ip: Ip,
  port: number,
  speaks: Endpoint["speaks"],
  tls: BackendTlsUse | undefined,
): UpstreamEndpoint | Failure {
  const address = formatHostPort(ip, port);
  const weight = workload.weight / workload.addresses.length;
  const inside = tls === undefined ? "" : ` ${tls.key}`;
  if (workload.protocol === "none") {
    const place = `tcp ${address}`;
    const reach: Reach = { kind: "plain", ip };
    const load = context.loads.of(place);
    return { key: `${place}${inside}`, address, speaks, workload, ip, port, reach, tls, weight, load };
  }
  const expected = identityOfWorkload(workload, context.trustDomain);
  if (isFailure(expected)) return expected;
  const place = `${expected} ${formatHostPort(ip, workload.hbonePort)} ${address}`;
  const reach: Reach = { kind: "tunnel", ip, port: workload.hbonePort, authority: address, expected };
  const load = context.loads.of(place);
  return { key: `${place}${inside}`, address, speaks, workload, ip, port, reach, tls, weight, load };
}
