// Machine. One coarse timer for all connections: each holds the moment at which it is due as a number, which costs nothing to
// move, and a single tick looks for those that have passed.
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";

/** Something with a deadline. */
export interface Due {
  /** In the time of `Deadlines.now`; `NEVER` for none. */
  dueAt: number;
  /** The deadline has passed. It stays passed until `dueAt` is moved. */
  onDue(): void;
}

/** The deadline of those that wait for nothing. */
export const NEVER = Number.POSITIVE_INFINITY;

/** Deadlines are late by up to one tick, which is small against seconds and lets thousands of connections share it. */
const TICK_MS = 250;

/** The deadlines of one process. The timer runs only while somebody is registered. */
export class Deadlines {
  /** Monotonic milliseconds at the last tick: behind the clock by up to one tick, and free to read. */
  now: number;
  readonly #clock: Clock;
  readonly #registered = new Set<Due>();
  #timer: Timer | undefined = undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.now = clock.monotonic();
  }

  /** The moment that is at least `delayMs` away. */
  in(delayMs: number): number {
    return this.now + delayMs + TICK_MS;
  }

  add(entry: Due): void {
    this.#registered.add(entry);
    if (this.#timer !== undefined) return;
    this.now = this.#clock.monotonic();
    this.#timer = this.#clock.every(TICK_MS, () => this.#tick());
  }

  remove(entry: Due): void {
    this.#registered.delete(entry);
    if (this.#registered.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #tick(): void {
    this.now = this.#clock.monotonic();
    for (const entry of this.#registered) {
      if (entry.dueAt <= this.now) entry.onDue();
    }
  }
}
