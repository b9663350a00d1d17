// Machine. Opens a tunnel anew while its refusal may be that of a peer which has not heard of a change yet, or knows of one that we
// have not heard of. Before the answer nothing has been sent, so to ask again is always safe, and it is the peer who decides.
import { isFailure, type Failure } from "../failure/failure.ts";
import { backoffDelay, type BackoffShape } from "../net/backoff.ts";
import type { Clock } from "../net/clock.ts";
import { mayBeLate } from "./elsewhere.ts";
import type { TunnelLimits } from "./limits.ts";

/** A change is everywhere within moments; who waits longer asks rarely enough to be no burden. */
const PACE: BackoffShape = { baseMs: 25, capMs: 500 };
/** What is refused for good is waited for once, not by each connection that comes within this. */
const REMEMBER_MS = 60_000;
/** Destinations of which that is remembered. */
const MOST_REMEMBERED = 1_024;

interface Refusals {
  readonly sinceMs: number;
  lastMs: number;
}

/** See the head of the file. */
export class LateNews {
  readonly #clock: Clock;
  readonly #limits: Pick<TunnelLimits, "configurationWaitMs" | "maxWaiters">;
  readonly #refusals = new Map<string, Refusals>();
  #waiting = 0;

  constructor(clock: Clock, limits: Pick<TunnelLimits, "configurationWaitMs" | "maxWaiters">) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /**
   * What `again` opens in the end, or its last failure.
   *
   * @param key what was refused: all that are refused the same wait together, `configurationWait` from the first refusal on
   * @param again to be judged by the configuration of the moment, each time
   */
  async outlast<Opened>(
    key: string,
    first: Failure,
    again: () => Promise<Opened | Failure>,
  ): Promise<Opened | Failure> {
    if (this.#waiting >= this.#limits.maxWaiters) return first;
    this.#waiting += 1;
    try {
      let failure = first;
      for (let tries = 1; mayBeLate(failure); tries += 1) {
        const leftMs = this.#leftMs(key);
        if (leftMs <= 0) break;
        await this.#pass(Math.min(leftMs, backoffDelay(PACE, tries, Math.random())));
        const opened = await again();
        if (!isFailure(opened)) {
          this.heard(key);
          return opened;
        }
        failure = opened;
      }
      return failure;
    } finally {
      this.#waiting -= 1;
    }
  }

  /** It was not refused: the next refusal is news again. */
  heard(key: string): void {
    if (this.#refusals.size > 0) this.#refusals.delete(key);
  }

  #leftMs(key: string): number {
    const now = this.#clock.monotonic();
    let refusals = this.#refusals.get(key);
    if (refusals === undefined || now - refusals.lastMs > REMEMBER_MS) refusals = { sinceMs: now, lastMs: now };
    refusals.lastMs = now;
    // Put at the end: the first is the one that was not refused for longest.
    this.#refusals.delete(key);
    this.#refusals.set(key, refusals);
    if (this.#refusals.size > MOST_REMEMBERED) {
      const [oldest] = this.#refusals.keys();
      if (oldest !== undefined) this.#refusals.delete(oldest);
    }
    return refusals.sinceMs + this.#limits.configurationWaitMs - now;
  }

  #pass(ms: number): Promise<void> {
    return new Promise((resume) => this.#clock.after(ms, resume));
  }
}
