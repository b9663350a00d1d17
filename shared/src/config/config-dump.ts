// Pure. A snapshot as JSON, as it is understood: what `config_dump` shows. What is understood of resources
// holds no secret, so nothing is left out.
import type { AuthorizationPolicy, PeerAuthentication, PolicyTarget, StringMatch } from "../policy/authorization.ts";
import type { Service, ServiceEntry, Waypoint, WaypointRef, Workload } from "../workload/workload.ts";
import { formatLocality } from "../workload/locality.ts";
import type { Json } from "./json.ts";
import type { Routing } from "./routing/routing.ts";
import type { Problem, Snapshot } from "./snapshot.ts";

/** One snapshot with its problems, and with its routes where they are read, keyed by `namespace/name` and sorted, so that two dumps can be compared by text. */
export function dumpSnapshot(snapshot: Snapshot, routing?: Routing): { readonly [key: string]: Json } {
  const { directory } = snapshot;
  return {
    version: snapshot.version,
    problems: snapshot.problems.map(dumpProblem),
    services: byUid(directory.services(), (service) => ({
      ...dumpService(service),
      virtualAddresses: Object.values(directory.virtualAddresses(service) ?? {}),
      endpoints: directory.endpoints(service).map(({ uid }) => uid),
    })),
    workloads: byUid(directory.workloads(), dumpWorkload),
    waypoints: byUid(named(directory.waypoints()), (waypoint) => ({
      ...dumpWaypoint(waypoint),
      instances: directory.waypointInstances(waypoint).map(({ uid }) => uid),
    })),
    ...routing?.dump(snapshot),
    policies: byUid(snapshot.policies, dumpPolicy),
    peerAuthentications: byUid(snapshot.peerAuthentications, dumpPeerAuthentication),
  };
}

function* named(waypoints: Iterable<Waypoint>): Generator<Waypoint & { readonly uid: string }> {
  for (const waypoint of waypoints) yield { ...waypoint, uid: `${waypoint.namespace}/${waypoint.name}` };
}

function byUid<T extends { readonly uid: string }>(items: Iterable<T>, dump: (item: T) => Json): Json {
  const sorted = [...items].toSorted((a, b) => (a.uid < b.uid ? -1 : 1));
  return Object.fromEntries(sorted.map((item) => [item.uid, dump(item)]));
}

function dumpProblem({ file, line, resource, path, text, severity, reason }: Problem): Json {
  return { file, line, resource, path, text, severity, ...(reason === undefined ? {} : { reason }) };
}

function dumpService(service: Service): { readonly [key: string]: Json } {
  return {
    hostname: service.hostname,
    vips: service.vips,
    headless: service.headless,
    ports: service.ports.map(({ name, port, targetPort, appProtocol }) => ({ name, port, targetPort, appProtocol })),
    selector: dumpMap(service.selector),
    waypoint: dumpRef(service.waypoint),
    requireWaypoint: service.requireWaypoint,
    prefers: service.prefers ?? null,
    ...(service.entry === undefined ? {} : { entry: dumpEntry(service.entry) }),
  };
}

function dumpEntry(entry: ServiceEntry): Json {
  const { name, location, resolution, cidrs, endpoints, exportedTo, notUnderstood } = entry;
  return {
    name,
    location,
    resolution,
    blocks: cidrs.map(({ text }) => text),
    endpoints: endpoints.map(({ addresses, hostname, ports, weight }) => ({
      addresses,
      hostname: hostname ?? null,
      ports: dumpMap(ports),
      weight,
    })),
    exportedTo: exportedTo === undefined ? null : [...exportedTo],
    notUnderstood: notUnderstood ?? null,
  };
}

function dumpWorkload(workload: Workload): Json {
  return {
    serviceAccount: workload.serviceAccount,
    addresses: workload.addresses,
    hostname: workload.hostname ?? null,
    labels: dumpMap(workload.labels),
    protocol: workload.protocol,
    hbonePort: workload.hbonePort,
    ports: dumpMap(workload.ports),
    weight: workload.weight,
    healthy: workload.healthy,
    waypoint: dumpRef(workload.waypoint),
    requireWaypoint: workload.requireWaypoint,
    node: workload.node ?? null,
    locality: formatLocality(workload.locality),
    ...(workload.trustDomain === undefined ? {} : { trustDomain: workload.trustDomain }),
    ...(workload.network === "" ? {} : { network: workload.network }),
  };
}

function dumpWaypoint(waypoint: Waypoint): { readonly [key: string]: Json } {
  const { serves, placement, forServiceAccount, withoutLocal, port, addresses, shares } = waypoint;
  const weights = Object.fromEntries(shares.map(({ ref, weight }) => [ref.name, weight]));
  return {
    serves,
    placement,
    ...(placement === "node" ? { withoutLocal } : {}),
    ...(forServiceAccount === undefined ? {} : { forServiceAccount }),
    port,
    addresses,
    ...(shares.length === 0 ? {} : { weights }),
  };
}

function dumpPolicy({ action, dryRun, target, rules, notUnderstood }: AuthorizationPolicy): Json {
  return {
    action,
    dryRun,
    target: dumpTarget(target),
    rules: rules.map(({ from, to }) => ({ from: from.map(dumpFields), to: to.map(dumpFields) })),
    notUnderstood: notUnderstood ?? null,
  };
}

function dumpTarget(target: PolicyTarget): Json {
  if (target.kind === "selector") return { kind: target.kind, labels: dumpMap(target.labels) };
  if (target.kind === "refs")
    return { kind: target.kind, refs: target.refs.map(({ kind, name }) => `${kind} ${name}`) };
  return { kind: target.kind };
}

/** The fields of a source or an operation, each value as it was written. */
function dumpFields(fields: object): Json {
  const entries: [string, unknown][] = Object.entries(fields);
  return Object.fromEntries(
    entries.map(([name, values]) => [name, Array.isArray(values) ? values.map(dumpValue) : null]),
  );
}

function dumpValue(value: unknown): Json {
  if (typeof value === "number") return value;
  if (typeof value !== "object" || value === null) return String(value);
  if ("text" in value) return String(value.text);
  return isStringMatch(value) ? writeMatch(value) : null;
}

function isStringMatch(value: object): value is StringMatch {
  return "kind" in value && "value" in value;
}

function writeMatch({ kind, value }: StringMatch): string {
  if (kind === "presence") return "*";
  if (kind === "prefix") return `${value}*`;
  return kind === "suffix" ? `*${value}` : value;
}

function dumpPeerAuthentication({ selector, mode, portModes, notUnderstood }: PeerAuthentication): Json {
  const ports = [...portModes].map(([port, portMode]): [string, Json] => [String(port), portMode]);
  return {
    selector: dumpMap(selector),
    mode,
    portModes: Object.fromEntries(ports),
    notUnderstood: notUnderstood ?? null,
  };
}

function dumpRef(ref: WaypointRef | undefined): Json {
  return ref === undefined ? null : `${ref.namespace}/${ref.name}`;
}

function dumpMap(map: ReadonlyMap<string, string | number> | undefined): Json {
  return map === undefined ? null : Object.fromEntries(map);
}
