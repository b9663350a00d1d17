// Machine. The tunnels of this process whose reader does not read: each of them may hold one stream window of bytes, which is
// what memory is about. Its own tally, kept by the pumps and by relays of TCP; whoever opens or accepts tunnels asks it first.
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { TunnelLimits } from "./limits.ts";

/** See the head of the file. */
export class StalledTunnels {
  /** Stalled at this moment. A fast sender to a slower reader is so for moments, again and again. */
  count = 0;

  /** Why no new tunnel may be opened; `undefined` while the stalled ones are within their budget. */
  shed(limits: TunnelLimits): Failure | undefined {
    if (this.count * limits.streamWindow < limits.stalledBudget) return undefined;
    return fail("OVERLOADED", `${this.count} stalled tunnels may hold ${limits.streamWindow} bytes each`);
  }
}

/** Those of this process. */
export const stalledTunnels: StalledTunnels = new StalledTunnels();
