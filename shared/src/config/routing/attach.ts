// Pure. Which Service ports the routes of all kinds get: what a parent names, and who comes first where two kinds meet.
import type { Directory } from "../../workload/directory.ts";
import type { Service, ServicePort } from "../../workload/workload.ts";
import { serviceNamed } from "../cross-check.ts";
import type { RouteParent } from "../http-route.ts";
import type { Refusal } from "../status/verdicts.ts";

/** A route of any kind, as far as its parents go. */
export interface AttachedRoute {
  readonly kind: "HTTPRoute" | "GRPCRoute" | "TCPRoute" | "TLSRoute";
  readonly uid: string;
  readonly namespace: string;
  readonly parents: readonly RouteParent[];
}

/** What becomes of one parent of one route. */
export interface Attachment {
  /** As it was written. */
  readonly parent: RouteParent;
  /** Why the route does not apply there. */
  readonly refused: Refusal | undefined;
  /** What the route gets: the parent, or those of its ports that no more specific kind has. */
  readonly serves: readonly RouteParent[];
}

/** The more specific kind has the port (GEP-1294). */
const BY_PRECEDENCE: readonly AttachedRoute["kind"][] = ["GRPCRoute", "HTTPRoute", "TLSRoute", "TCPRoute"];

/**
 * The attachments of each route, in the order of its parents. Kinds meet within one namespace: the routes of a consumer and those
 * of the producer are never looked at together.
 *
 * @param elsewhere Services, `namespace/name`, that are names for something else (`ExternalName`)
 */
export function attach<R extends AttachedRoute>(
  routes: readonly R[],
  directory: Directory,
  elsewhere: ReadonlySet<string>,
): ReadonlyMap<R, readonly Attachment[]> {
  const entries = new Map<string, Service>();
  for (const service of directory.services()) {
    const key = `${service.namespace}/${service.entry?.name ?? ""}`;
    if (service.entry !== undefined && !entries.has(key)) entries.set(key, service);
  }
  const owners = new Map<string, AttachedRoute>();
  const attachments = new Map<R, readonly Attachment[]>();
  for (const kind of BY_PRECEDENCE) {
    for (const route of routes) {
      if (route.kind !== kind) continue;
      const own = route.parents.map((parent) => attachTo(route, parent, directory, entries, elsewhere, owners));
      attachments.set(route, own);
    }
  }
  return attachments;
}

function attachTo(
  route: AttachedRoute,
  parent: RouteParent,
  directory: Directory,
  entries: ReadonlyMap<string, Service>,
  elsewhere: ReadonlySet<string>,
  owners: Map<string, AttachedRoute>,
): Attachment {
  const uid = `${parent.namespace}/${parent.name}`;
  const title = `${parent.kind === "entry" ? "ServiceEntry" : "Service"} ${uid}`;
  const service = parent.kind === "entry" ? entries.get(uid) : serviceNamed(directory, uid);
  if (service === undefined) return noMatch(parent, `there is no ${title}`);
  if (parent.kind === "service" && service.headless) {
    return noMatch(parent, `${title} is headless: it has no address that a route could be found by`);
  }
  if (parent.kind === "service" && elsewhere.has(uid)) return noMatch(parent, `${title} is a name for something else`);
  const ports = service.ports.filter((port) => isMeant(parent, port));
  const isWhole = parent.port === undefined && parent.sectionName === undefined;
  if (ports.length === 0 && !isWhole) return noMatch(parent, `${title} has no port ${describe(parent)}`);
  const free: ServicePort[] = [];
  let owner: AttachedRoute | undefined;
  for (const port of ports) {
    const key = `${route.namespace} ${parent.kind} ${uid} ${port.port}`;
    const first = owners.get(key);
    if (first === undefined) owners.set(key, route);
    if (first === undefined || first.kind === route.kind) free.push(port);
    else owner ??= first;
  }
  if (owner === undefined) return { parent, refused: undefined, serves: [parent] };
  if (free.length > 0) {
    const serves = free.map(({ port }) => onPort(parent, port));
    return { parent, refused: undefined, serves };
  }
  const text = `${owner.kind} ${owner.uid} is attached there, and comes before a ${route.kind}`;
  return { parent, refused: { reason: "Conflicted", text }, serves: [] };
}

function onPort({ namespace, name, kind }: RouteParent, port: number): RouteParent {
  return { namespace, name, kind, port, sectionName: undefined };
}

function noMatch(parent: RouteParent, text: string): Attachment {
  return { parent, refused: { reason: "NoMatchingParent", text }, serves: [] };
}

function isMeant({ port, sectionName }: RouteParent, candidate: ServicePort): boolean {
  return (port ?? candidate.port) === candidate.port && (sectionName ?? candidate.name) === candidate.name;
}

function describe({ port, sectionName }: RouteParent): string {
  return port !== undefined && sectionName !== undefined
    ? `${port} of the name ${sectionName}`
    : `${port ?? sectionName}`;
}
