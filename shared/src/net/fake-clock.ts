// Machine. For tests: a clock that stands still until it is moved.
import type { Clock, Timer } from "./clock.ts";

interface Pending {
  dueAt: number;
  readonly periodMs: number | undefined;
  readonly run: () => void;
}

/** A clock that only moves by `advance`; timers fire in the order of their due times. */
export class FakeClock implements Clock {
  #elapsedMs = 0;
  #startMs: number;
  readonly #pending = new Set<Pending>();

  constructor(startMs: number = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs;
  }

  now(): number {
    return this.#startMs + this.#elapsedMs;
  }

  monotonic(): number {
    return this.#elapsedMs;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.#add({ dueAt: this.#elapsedMs + delayMs, periodMs: undefined, run });
  }

  every(periodMs: number, run: () => void): Timer {
    return this.#add({ dueAt: this.#elapsedMs + periodMs, periodMs, run });
  }

  /** How many timers wait: zero proves that nothing leaked. */
  get pending(): number {
    return this.#pending.size;
  }

  /** Moves time forward by `ms`, firing every timer that falls due on the way. */
  advance(ms: number): void {
    const target = this.#elapsedMs + ms;
    for (;;) {
      const next = [...this.#pending].filter((timer) => timer.dueAt <= target).toSorted((a, b) => a.dueAt - b.dueAt)[0];
      if (next === undefined) break;
      this.#elapsedMs = next.dueAt;
      if (next.periodMs === undefined) this.#pending.delete(next);
      else next.dueAt += next.periodMs;
      next.run();
    }
    this.#elapsedMs = target;
  }

  /** Sets the wall clock forward or, by less than nothing, back; no time passes. */
  jump(ms: number): void {
    this.#startMs += ms;
  }

  #add(timer: Pending): Timer {
    this.#pending.add(timer);
    return { cancel: () => void this.#pending.delete(timer) };
  }
}
