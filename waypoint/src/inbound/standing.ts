// Pure. What a view means for a tunnel that is there: what it leads to and who decides about it, also when another waypoint has come
// to stand there since. Callers hear of that a moment earlier or later, and what they have open is to end in order.
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Destination } from "../mesh/destination.ts";
import type { Guard } from "../mesh/guard.ts";
import type { MeshView } from "../mesh/view.ts";
import type { Tunnel } from "./tunnel.ts";

/** See the head of the file. */
export interface Standing {
  /** Whose routes and endpoints serve it. */
  readonly view: MeshView;
  readonly destination: Destination;
  readonly guard: Guard;
  /** Set while this waypoint does not stand before the destination any more. */
  readonly left: Left | undefined;
}

interface Left {
  /** The policies that held when it stood there last. */
  readonly guard: Guard;
  /** Whether it is told of changes still. Who is not must not go on for long. */
  readonly isKnown: boolean;
}

/**
 * What `view` means for a tunnel. One that was accepted goes on when its destination is behind another waypoint, or behind none: if
 * what held then and what holds now both permit, so that what either has refused is not let through by the mixture. A tunnel that is
 * new is refused (its caller asks again when it has heard), and so is one whose destination is not there any more.
 *
 * @param before what an earlier view meant for it; `undefined` for a new one
 */
export function standingOf(
  view: MeshView,
  { request: { authority }, caller }: Pick<Tunnel, "request" | "caller">,
  before: Standing | undefined,
): Standing | Failure {
  const destination = view.destination(authority, caller);
  if (!isFailure(destination)) return { view, destination, guard: view.guard(destination), left: undefined };
  if (before === undefined || destination.code !== "DESTINATION_UNKNOWN") return destination;
  const held = before.left?.guard ?? before.guard;
  const now = view.pastDestination(authority, caller);
  if (!isFailure(now) && isSame(now, before.destination)) {
    return { view, destination: now, guard: both(held, view.guard(now)), left: { guard: held, isKnown: true } };
  }
  if (view.holds(before.destination) !== undefined) return destination;
  return { ...before, left: { guard: held, isKnown: false } };
}

function both(one: Guard, other: Guard): Guard {
  return { policies: [...one.policies, ...other.policies], needsHttp: one.needsHttp || other.needsHttp };
}

function isSame(a: Destination, b: Destination): boolean {
  if (a.kind === "service")
    return b.kind === "service" && a.service.uid === b.service.uid && a.port.port === b.port.port;
  return b.kind === "workload" && a.workload.uid === b.workload.uid && a.port === b.port;
}
