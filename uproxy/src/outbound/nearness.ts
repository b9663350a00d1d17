// Pure. Which of several endpoints go first, seen from the own workload.
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { distance, formatLocality } from "@culvert/shared/workload/locality.ts";
import type { UproxyState } from "../state.ts";
import type { Choices, Endpoint } from "./hop.ts";

/** How far an endpoint is; all are equally far where nobody prefers any, or where the own place is unknown. */
export function distanceOf({ workload: own }: UproxyState, { prefers }: Choices): (endpoint: Endpoint) => number {
  if (prefers === undefined || isFailure(own)) return () => 0;
  return ({ workload }) => distance(own, workload, prefers);
}

/** The endpoints that go first. */
export function nearestOf(state: UproxyState, choices: Choices): readonly Endpoint[] {
  const far = distanceOf(state, choices);
  const distances = choices.endpoints.map(far);
  const nearest = Math.min(...distances);
  return choices.endpoints.filter((_endpoint, index) => distances[index] === nearest);
}

/** In words, for `explain`; `undefined` where all are equally far. */
export function describeNearness({ workload: own }: UproxyState, { prefers }: Choices): string | undefined {
  if (prefers === undefined) return undefined;
  if (isFailure(own)) return `${prefers} is preferred, but the own workload is not known`;
  const place = [formatLocality(own.locality), own.node].filter(Boolean).join(", node ") || "nowhere that is known";
  return `${prefers} is preferred, seen from ${place}`;
}
