// Pure. Routes and policies of backends joined with the rest of the mesh, each with what its status says.
import type { Directory } from "../../workload/directory.ts";
import type { HttpRoute } from "../http-route.ts";
import { ofKind } from "../resources/of-kind.ts";
import type { GatewayParent, Metadata, ParsedResources } from "../resources/resource.ts";
import { titleOf } from "../resources/title.ts";
import type { Problem, Snapshot } from "../snapshot.ts";
import { backendTlsStatus } from "../status/backend-tls-status.ts";
import { routeStatus, WAYPOINT_TAKES_NONE } from "../status/route-status.ts";
import { Verdicts } from "../status/verdicts.ts";
import type { StreamRoute } from "../stream-route.ts";
import { attach, type Attachment } from "./attach.ts";
import { joinBackendTls, tlsPorts } from "./join-backend-tls.ts";
import { joinHttpRoutes } from "./join-http-routes.ts";
import { joinStreamRoutes } from "./join-stream-routes.ts";
import { ReferenceCheck } from "./reference-check.ts";

/** The part of a snapshot that is about routes, with its problems. */
export type RoutingParts = Pick<Snapshot, "routes" | "streamRoutes" | "backendTls" | "statuses" | "problems">;

/** Joins everything. Routes of the snapshot have the parents that they are accepted for; the status speaks of all. */
export function joinRouting({ resources, problems: before }: ParsedResources, directory: Directory): RoutingParts {
  const problems: Problem[] = [];
  const policies = joinBackendTls(resources, directory, problems);
  const http = joinHttpRoutes(resources, directory, tlsPorts(policies), problems);
  const streams = joinStreamRoutes(resources, directory, problems);
  const elsewhere = ofKind(resources, "Service").filter(({ isAlias }) => isAlias);
  const attachments = attach(
    [...http, ...streams],
    directory,
    new Set(elsewhere.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`)),
  );
  const metadata = new Map<string, Metadata>();
  const waypoints = new Map<string, readonly GatewayParent[]>();
  for (const resource of resources) {
    metadata.set(titleOf(resource), resource.metadata);
    if (!("gateways" in resource)) continue;
    const own = resource.gateways.filter((gateway) => directory.waypoint(gateway) !== undefined);
    if (own.length > 0) waypoints.set(titleOf(resource), own);
    const check = new ReferenceCheck(resource, directory, problems);
    for (const { namespace, name } of own) {
      check.report("spec.parentRefs", `Gateway ${namespace}/${name}: ${WAYPOINT_TAKES_NONE}`, "NotAllowedByListeners");
    }
  }
  for (const [route, own] of attachments) reportRefused(route, own, metadata, directory, problems);

  const byResource = Map.groupBy([...before, ...problems], ({ resource }) => resource);
  const verdictsOf = (kind: string, uid: string): Verdicts => {
    const title = `${kind} ${uid}`;
    return new Verdicts(byResource.get(title) ?? [], metadata.get(title)?.generation ?? 0);
  };
  const accepted = <R extends HttpRoute | StreamRoute>(route: R): R => {
    const own = attachments.get(route) ?? [];
    return { ...route, parents: own.flatMap(({ serves }) => serves) };
  };
  return {
    routes: http.map(accepted),
    streamRoutes: streams.map(accepted),
    backendTls: policies.map(({ policy }) => policy),
    statuses: [
      ...[...http, ...streams].map((route) => {
        const own = waypoints.get(`${route.kind} ${route.uid}`) ?? [];
        return routeStatus(route, attachments.get(route) ?? [], own, verdictsOf(route.kind, route.uid));
      }),
      ...policies.map(({ policy, targets }) =>
        backendTlsStatus(policy, targets, verdictsOf("BackendTLSPolicy", policy.uid)),
      ),
    ],
    problems,
  };
}

function reportRefused(
  { kind, uid }: HttpRoute | StreamRoute,
  attachments: readonly Attachment[],
  metadata: ReadonlyMap<string, Metadata>,
  directory: Directory,
  problems: Problem[],
): void {
  const own = metadata.get(`${kind} ${uid}`);
  if (own === undefined) return;
  const check = new ReferenceCheck({ kind, metadata: own }, directory, problems);
  for (const { refused } of attachments) {
    if (refused !== undefined) check.report("spec.parentRefs", refused.text, refused.reason);
  }
}
