// Pure. Which waypoint a destination has: the nearest `istio.io/use-waypoint` label wins, and the Gateway has a say in
// what kind of destination it serves.
import { GATEWAY_NAME_LABEL } from "./directory.ts";
import type { WaypointFor, WaypointRef } from "./workload.ts";

/** Names the waypoint of a Service, a workload or a Namespace; `none` cuts what a farther label says. */
export const USE_WAYPOINT_LABEL = "istio.io/use-waypoint";

/** The namespace of the Gateway, where it is not the destination's own. */
export const USE_WAYPOINT_NAMESPACE_LABEL = "istio.io/use-waypoint-namespace";

/** Labels by name. */
export type Labels = ReadonlyMap<string, string>;

/** A destination as far as its waypoint depends on it. */
export interface WaypointSubject {
  readonly kind: "service" | "workload";
  readonly namespace: string;
  /** Its own labels. */
  readonly labels: Labels;
  /** Those of its Namespace; `undefined` when there is no such resource. */
  readonly namespaceLabels: Labels | undefined;
}

/**
 * The waypoint through which a destination is reached.
 *
 * A Gateway that nobody knows is answered as well: the destination says that it wants a waypoint, so its traffic must not
 * go around it. A waypoint itself, and the Service before it, have none: it would send to itself.
 *
 * @param servesOf `istio.io/waypoint-for` of a Gateway; `undefined` when there is none of that name
 */
export function waypointOf(
  subject: WaypointSubject,
  servesOf: (ref: WaypointRef) => WaypointFor | undefined,
): WaypointRef | undefined {
  if (subject.labels.has(GATEWAY_NAME_LABEL)) return undefined;
  const ref =
    namedWaypoint(subject.labels, subject.namespace) ?? namedWaypoint(subject.namespaceLabels, subject.namespace);
  if (ref === undefined || ref === "none") return undefined;
  const serves = servesOf(ref) ?? "all";
  return serves === "all" || serves === subject.kind ? ref : undefined;
}

/** The waypoint that one set of labels names, if they name any. */
export function namedWaypoint(labels: Labels | undefined, namespace: string): WaypointRef | "none" | undefined {
  const name = labels?.get(USE_WAYPOINT_LABEL);
  if (name === undefined) return undefined;
  if (name === "none") return "none";
  return { namespace: labels?.get(USE_WAYPOINT_NAMESPACE_LABEL) ?? namespace, name };
}
