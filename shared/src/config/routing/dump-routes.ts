// Pure. Routes and policies of backends as JSON, for the dump of the configuration.
import type { Json } from "../json.ts";
import type { BackendTls } from "../backend-tls.ts";
import type { BackendRef, HttpRoute, RouteParent } from "../http-route.ts";
import type { Snapshot } from "../snapshot.ts";
import type { ResourceStatus } from "../status/condition.ts";
import type { StreamRoute } from "../stream-route.ts";

type Dumped = Pick<Snapshot, "routes" | "streamRoutes" | "backendTls" | "statuses">;

/** Each kind by `namespace/name`, sorted, with its status beside it. */
export function dumpRouting({ routes, streamRoutes, backendTls, statuses }: Dumped): { readonly [key: string]: Json } {
  const statusOf = new Map(statuses.map((status) => [`${status.kind} ${status.namespace}/${status.name}`, status]));
  const section = <T extends HttpRoute | StreamRoute>(kind: T["kind"], all: readonly T[], dump: (item: T) => object) =>
    byUid(all.filter((item) => item.kind === kind).map((item) => withStatus(kind, item, dump(item), statusOf)));
  return {
    routes: section("HTTPRoute", routes, dumpHttpRoute),
    grpcRoutes: section("GRPCRoute", routes, dumpHttpRoute),
    tlsRoutes: section("TLSRoute", streamRoutes, dumpStreamRoute),
    tcpRoutes: section("TCPRoute", streamRoutes, dumpStreamRoute),
    backendTls: byUid(
      backendTls.map((policy) => withStatus("BackendTLSPolicy", policy, dumpBackendTls(policy), statusOf)),
    ),
  };
}

function withStatus(
  kind: string,
  { uid }: { readonly uid: string },
  dumped: object,
  statusOf: ReadonlyMap<string, ResourceStatus>,
): [string, Json] {
  const status = statusOf.get(`${kind} ${uid}`)?.parents ?? [];
  return [uid, json({ ...dumped, status: status.map(({ ref, conditions }) => ({ parentRef: ref, conditions })) })];
}

function byUid(items: readonly (readonly [string, Json])[]): Json {
  return Object.fromEntries(items.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function dumpHttpRoute({ parents, hostnames, rules, notUnderstood }: HttpRoute): object {
  return {
    parents: parents.map(dumpParent),
    hostnames,
    rules: rules.map((rule) => ({
      ...rule,
      backends: rule.backends.map(({ weight, filters, ...ref }) => ({ ...dumpBackend(ref), weight, filters })),
    })),
    notUnderstood,
  };
}

function dumpStreamRoute({ parents, hostnames, rules, notUnderstood }: StreamRoute): object {
  return {
    parents: parents.map(dumpParent),
    hostnames,
    rules: rules.map(({ name, backends }) => ({
      name,
      backends: backends.map(({ weight, ...ref }) => ({ ...dumpBackend(ref), weight })),
    })),
    notUnderstood,
  };
}

function dumpBackendTls({ targets, hostname, subjectAltNames, roots, notUnderstood }: BackendTls): object {
  return { targets, hostname, subjectAltNames, roots: roots === "system" ? roots : roots.length, notUnderstood };
}

function dumpParent({ kind, namespace, name, port, sectionName }: RouteParent): object {
  return { [kind]: `${namespace}/${name}`, port, ...(sectionName === undefined ? {} : { sectionName }) };
}

function dumpBackend({ kind, namespace, name, port, invalid }: BackendRef): object {
  return { [kind]: `${namespace}/${name}`, port, invalid };
}

/** Plain data as JSON, where what is absent is `null`. */
function json(value: unknown): Json {
  if (Array.isArray(value)) return value.map(json);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]): [string, Json] => [key, json(item)]));
  }
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  return null;
}
