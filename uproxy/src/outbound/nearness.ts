// Pure. Which endpoints of a hop go first, seen from the own workload.
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { distance, formatLocality, type Preference } from "@culvert/shared/workload/locality.ts";
import type { UproxyState } from "../state.ts";
import type { Endpoint, Hop } from "./resolve.ts";

type Tunnelled = Extract<Hop, { kind: "tunnel" }>;

/** How far an endpoint of the hop is; all are equally far where nobody prefers any, or where the own place is unknown. */
export function distanceOf({ workload: own }: UproxyState, hop: Tunnelled): (endpoint: Endpoint) => number {
  const preference = preferenceOf(hop);
  if (preference === undefined || isFailure(own)) return () => 0;
  return ({ workload }) => distance(own, workload, preference);
}

/** In words, for `explain`; `undefined` where all are equally far. */
export function describeNearness({ workload: own }: UproxyState, hop: Tunnelled): string | undefined {
  const preference = preferenceOf(hop);
  if (preference === undefined) return undefined;
  if (isFailure(own)) return `${preference} is preferred, but the own workload is not known`;
  const place = [formatLocality(own.locality), own.node].filter(Boolean).join(", node ") || "nowhere that is known";
  return `${preference} is preferred, seen from ${place}`;
}

/** A waypoint of placement `node` runs on every node, so that nobody has to leave the own one. */
function preferenceOf({ service, waypoint }: Tunnelled): Preference | undefined {
  if (waypoint !== undefined) return waypoint.placement === "node" ? "same-node" : undefined;
  return service?.prefers;
}
