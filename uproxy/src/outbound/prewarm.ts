// Pure. The peers to which sessions are opened before the app asks for them: those that its listeners lead to.
import type { ExplicitListener } from "@culvert/shared/config/process/process-config.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { TunnelTarget } from "@culvert/shared/tunnel/pool.ts";
import type { UproxyState } from "../state.ts";
import { explicitDestination } from "./explicit.ts";
import { nearestOf } from "./nearness.ts";
import { resolve } from "./resolve.ts";

/** Peers kept ready for one listener: power of two choices finds a ready one among these before it dials another. */
const MAX_TARGETS = 16;

/** The peers that are to be kept ready in this state. A destination that leads nowhere now has none. */
export function prewarmTargets(state: UproxyState, listeners: readonly ExplicitListener[]): TunnelTarget[] {
  const targets: TunnelTarget[] = [];
  for (const listener of listeners) {
    if (!listener.prewarm) continue;
    const hop = resolve(state.snapshot, state.self, explicitDestination(listener), "refuse");
    if (isFailure(hop) || hop.kind === "passthrough") continue;
    const first = (hop.shares ?? [hop]).flatMap((choices) => nearestOf(state, choices));
    const tunnelled = first.filter((endpoint) => endpoint.authority !== undefined);
    targets.push(...tunnelled.slice(0, MAX_TARGETS));
  }
  return targets;
}
