// Pure. What the placement of the own Gateway means to this process: which pod it stands in, and whose account it serves.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import type { Directory } from "@culvert/shared/workload/directory.ts";
import { hasIdentity, identityOfWorkload } from "@culvert/shared/workload/workload-identity.ts";
import type { Service, WaypointRef, Workload } from "@culvert/shared/workload/workload.ts";

/** Where the tunnel port of this process is. */
export interface OwnPlace {
  readonly addresses: readonly Ip[];
  readonly port: number;
}

/** Who this process is, as far as placement asks. */
interface Own {
  readonly gateway: WaypointRef;
  readonly id: SpiffeId;
  readonly trustDomain: TrustDomain;
  readonly place: OwnPlace;
  /** Its Gateway has become another account's a moment ago: it goes on until its callers know. */
  readonly isLeaving?: boolean;
}

const NO_POD: ReadonlySet<Ip> = new Set();

/** The instances that this process may be: those at its addresses and its port. */
export function ownInstances(directory: Directory, { gateway, place }: Pick<Own, "gateway" | "place">): Workload[] {
  const instances = directory.waypointInstances(gateway).filter(({ hbonePort }) => hbonePort === place.port);
  return instances.filter(({ addresses }) => addresses.some((ip) => place.addresses.includes(ip)));
}

/** With placement `sidecar` the addresses of the own pod, whose application comes before others; else none. */
export function ownPod(directory: Directory, own: Pick<Own, "gateway" | "place">): ReadonlySet<Ip> {
  if (directory.waypoint(own.gateway)?.placement !== "sidecar") return NO_POD;
  return new Set(ownInstances(directory, own).flatMap(({ addresses }) => addresses));
}

/** With placement `service-account` the one identity of which workloads are served; `undefined`: all are. */
export function servedAccount(
  directory: Directory,
  { gateway, trustDomain, isLeaving }: Pick<Own, "gateway" | "trustDomain" | "isLeaving">,
): SpiffeId | undefined {
  const account = directory.waypoint(gateway)?.forServiceAccount;
  if (account === undefined || isLeaving === true) return undefined;
  const id = identityOfWorkload({ namespace: gateway.namespace, serviceAccount: account, trustDomain }, trustDomain);
  return isFailure(id) ? undefined : id;
}

/** ACCOUNT_NOT_SERVED when this process has another identity than that of the one account which its Gateway serves. */
export function otherAccountThanOwn(directory: Directory, own: Own): Failure | undefined {
  const account = servedAccount(directory, own);
  if (account === undefined || account === own.id) return undefined;
  const { namespace, name } = own.gateway;
  return fail("ACCOUNT_NOT_SERVED", `Gateway ${namespace}/${name} is for ${account}, and this waypoint is ${own.id}`);
}

/** ACCOUNT_NOT_SERVED when a workload runs as another account than the one that is served. */
export function servesNot(directory: Directory, own: Own, workload: Workload): Failure | undefined {
  const account = servedAccount(directory, own);
  if (account === undefined || hasIdentity(workload, account, own.trustDomain)) return undefined;
  const { uid, namespace, serviceAccount } = workload;
  return fail("ACCOUNT_NOT_SERVED", `${uid} runs as ${namespace}/${serviceAccount}, not as ${account}`);
}

/** ACCOUNT_NOT_SERVED when all endpoints of a service run as other accounts than the one that is served. What lies outside has none. */
export function servesNoneOf(directory: Directory, own: Own, service: Service): Failure | undefined {
  const account = servedAccount(directory, own);
  if (account === undefined || service.entry?.location === "external") return undefined;
  const endpoints = directory.endpoints(service);
  if (endpoints.length === 0) return undefined;
  if (endpoints.some((workload) => hasIdentity(workload, account, own.trustDomain))) return undefined;
  return fail("ACCOUNT_NOT_SERVED", `no endpoint of service ${service.uid} runs as ${account}`);
}

/** In words, for explanations: the placement, which instance this is, and what follows from it. */
export function describeStanding(directory: Directory, own: Own): string {
  const placement = directory.waypoint(own.gateway)?.placement;
  if (placement === undefined) return "the own Gateway is not there, or not understood";
  const instances = ownInstances(directory, own).map(({ uid }) => uid);
  const who = instances.length === 0 ? "this process is no instance that is in the resources" : instances.join(" or ");
  const account = servedAccount(directory, own);
  if (account !== undefined) return `placement ${placement} (${who}): workloads of ${account} only`;
  const pod = [...ownPod(directory, own)].join(", ");
  return pod === "" ? `placement ${placement} (${who})` : `placement ${placement} (${who}): endpoints at ${pod} first`;
}
