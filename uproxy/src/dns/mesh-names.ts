// Pure. What DNS says of the names of the mesh: the addresses at which a service, or one workload of a headless service, is
// reached by the own app.
import type { ExplicitListener } from "@culvert/shared/config/process/process-config.ts";
import { ipFamily, parseIp, type Ip } from "@culvert/shared/net/ip.ts";
import { CLUSTER_DOMAIN, type Directory } from "@culvert/shared/workload/directory.ts";
import type { Service, Workload } from "@culvert/shared/workload/workload.ts";

/** What the answer depends on beside the name. */
export interface NameContext {
  readonly directory: Directory;
  /** Namespace of the own app, in which short names are read. */
  readonly namespace: string;
  /** Families in which this host has an address: an app is given no virtual address that it has no route to. */
  readonly families: ReadonlySet<4 | 6>;
  /** Whether connections to a virtual address come to us by themselves. */
  readonly isCaptured: boolean;
  /** Explicit listeners that stand in for services: an app that is not captured reaches the service through them. */
  readonly standIns: ReadonlyMap<Service, readonly Ip[]>;
}

/** The addresses of a name of the mesh, of both families; `undefined` when it is none. */
export function meshAddresses(name: string, context: NameContext): readonly Ip[] | undefined {
  for (const candidate of spellings(name, context.namespace)) {
    const service = context.directory.serviceByHost(candidate, context.namespace);
    if (service !== undefined) return serviceAddresses(service, context);
    const workload = headlessWorkload(candidate, context);
    if (workload !== undefined) return workload;
  }
  return undefined;
}

/**
 * The last good addresses of a workload that was given by DNS name, for when nobody else answers for that name. They are no
 * answer while somebody does: they were found by asking, maybe by way of us.
 */
export function lastGoodAddresses(name: string, directory: Directory): readonly Ip[] {
  for (const { hostname, addresses } of named(directory)) {
    if (hostname !== undefined && (hostname === name || hostname === `${name}.`)) return addresses;
  }
  return [];
}

function* named(directory: Directory): Generator<Workload> {
  yield* directory.workloads();
  for (const { entry } of directory.services()) if (entry !== undefined) yield* entry.endpoints;
}

/** The explicit listeners on the very port that they lead to: whoever dials the service's port there gets the service. */
export function standInsOf(
  listeners: readonly ExplicitListener[],
  directory: Directory,
  namespace: string,
): ReadonlyMap<Service, readonly Ip[]> {
  const standIns = new Map<Service, Ip[]>();
  for (const { listen, to } of listeners) {
    if (listen.kind !== "tcp" || listen.port !== to.port) continue;
    const address = parseIp(listen.host === "localhost" ? "127.0.0.1" : listen.host);
    if (address === undefined) continue;
    const ip = parseIp(to.host);
    const service =
      ip === undefined ? directory.serviceByHost(to.host, namespace) : directory.serviceByVip(ip, namespace);
    if (service === undefined) continue;
    const addresses = standIns.get(service) ?? [];
    if (!addresses.includes(address)) standIns.set(service, [...addresses, address]);
  }
  return standIns;
}

/** Every name that may have to be known before a name is, for it is looked for under all of them. */
export function* askedFor(name: string, namespace: string): Generator<string> {
  for (const candidate of spellings(name, namespace)) {
    yield candidate;
    const dot = candidate.indexOf(".");
    // A workload of a headless service is found through the service.
    if (dot >= 0 && dot < candidate.length - 1) yield candidate.slice(dot + 1);
  }
}

/** The name as it is, then without each of the suffixes that the resolver of a pod tries (`search` in its resolv.conf). */
function* spellings(name: string, namespace: string): Generator<string> {
  yield name;
  for (const suffix of [`.${namespace}.svc.${CLUSTER_DOMAIN}`, `.svc.${CLUSTER_DOMAIN}`, `.${CLUSTER_DOMAIN}`]) {
    if (name.endsWith(suffix)) yield name.slice(0, -suffix.length);
  }
}

function serviceAddresses(
  service: Service,
  { directory, families, isCaptured, standIns }: NameContext,
): readonly Ip[] | undefined {
  const standing = standIns.get(service);
  if (standing !== undefined) return standing;
  // What lies outside has a name that others know, and without capture only their addresses lead there.
  if (service.entry !== undefined && service.vips.length === 0 && (service.headless || !isCaptured)) return undefined;
  if (service.headless) {
    const ready = directory.endpoints(service).filter(({ healthy }) => healthy);
    return [...new Set(ready.flatMap(({ addresses }) => addresses))];
  }
  const { v4, v6 } = directory.virtualAddresses(service) ?? {};
  if (v4 === undefined || v6 === undefined) return service.vips;
  return [v4, v6].filter((address) => families.has(ipFamily(address)));
}

/** `workload.service…` of a headless service, as pods of a StatefulSet are called. */
function headlessWorkload(name: string, { directory, namespace }: NameContext): readonly Ip[] | undefined {
  const dot = name.indexOf(".");
  if (dot < 0) return undefined;
  const service = directory.serviceByHost(name.slice(dot + 1), namespace);
  if (service?.headless !== true || service.entry !== undefined) return undefined;
  return directory.endpoints(service).find((workload) => workload.name === name.slice(0, dot))?.addresses;
}
