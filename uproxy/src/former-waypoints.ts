// Pure. Waypoints through which callers had to come until a moment ago: what still comes that way has not gone around one.
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import { isSameGateway } from "@culvert/shared/workload/directory.ts";
import type { WaypointRef } from "@culvert/shared/workload/workload.ts";

/** A waypoint, and the identities of its instances. */
export interface RequiredWaypoint {
  readonly ref: WaypointRef;
  readonly callers: ReadonlySet<SpiffeId>;
}

/** One that is required no more. */
export interface FormerWaypoint extends RequiredWaypoint {
  /** Since when, in monotonic milliseconds. */
  readonly sinceMs: number;
  /** Whether the resources still say who its instances are. */
  readonly isKnown: boolean;
}

/** How long what is required no more counts. */
export interface Overlap {
  /** Whoever has not heard of the change yet may open connections for that long. */
  readonly openMs: number;
  /** What is open may go on for that long where nobody says any more who the instances are. */
  readonly keepMs: number;
}

/** What a workload requires of its callers. */
export interface Requirement {
  /** `undefined`: nothing. */
  readonly required: readonly RequiredWaypoint[] | undefined;
  readonly former: readonly FormerWaypoint[];
}

/**
 * The waypoints that are former ones from now on. None where a waypoint was not required before: who came directly then has no
 * claim. Of one that the resources know, only instances count that are still there, and none that was not there while it was required.
 *
 * @param instances the identities of the instances of a waypoint; `undefined` when the resources do not know it
 */
export function formerWaypoints(
  before: Requirement,
  required: readonly RequiredWaypoint[] | undefined,
  instances: (ref: WaypointRef) => ReadonlySet<SpiffeId> | undefined,
  nowMs: number,
  { keepMs }: Overlap,
): readonly FormerWaypoint[] {
  if (before.required === undefined || required === undefined) return [];
  const gone = before.required.map(({ ref, callers }): FormerWaypoint => ({
    ref,
    callers,
    sinceMs: nowMs,
    isKnown: true,
  }));
  return [...before.former, ...gone]
    .filter(({ ref }) => !required.some((waypoint) => isSameGateway(waypoint.ref, ref)))
    .map(({ ref, callers, sinceMs }) => {
      const now = instances(ref);
      return {
        ref,
        sinceMs,
        isKnown: now !== undefined,
        callers: now === undefined ? callers : callers.intersection(now),
      };
    })
    .filter(({ callers, sinceMs, isKnown }) => callers.size > 0 && (isKnown || nowMs - sinceMs < keepMs));
}

/** Who may open connections although another waypoint is required. */
export function lateCallers(former: readonly FormerWaypoint[], nowMs: number, { openMs }: Overlap): Set<SpiffeId> {
  return union(former.filter(({ sinceMs }) => nowMs - sinceMs < openMs));
}

/** All identities of these waypoints. */
export function union(waypoints: readonly RequiredWaypoint[]): Set<SpiffeId> {
  return new Set(waypoints.flatMap(({ callers }) => [...callers]));
}

/** How long it takes until less counts than now, in milliseconds; `undefined`: nothing will change by itself. */
export function untilLess(
  former: readonly FormerWaypoint[],
  nowMs: number,
  { openMs, keepMs }: Overlap,
): number | undefined {
  const ends = former.flatMap(({ sinceMs, isKnown }) => [sinceMs + openMs, ...(isKnown ? [] : [sinceMs + keepMs])]);
  const ahead = ends.filter((end) => end > nowMs);
  return ahead.length === 0 ? undefined : Math.min(...ahead) - nowMs;
}
