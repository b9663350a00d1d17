// Machine. Lets through so many lines of one kind per second and counts the rest, so that a flood of one event neither
// fills the disk nor drowns the others.
import type { Clock } from "../net/clock.ts";

interface Window {
  startedAt: number;
  passed: number;
  held: number;
}

/** Kinds remembered at once; beyond it all start anew, which lets through more lines, never fewer. */
const MAX_KINDS = 1024;
const WINDOW_MS = 1000;

/** Answer of `admit` for a line that is not to be written. */
export const HELD = -1;

/** A budget of lines per kind and second. */
export class FloodGate {
  readonly #clock: Clock;
  readonly #perSecond: number;
  readonly #windows = new Map<string, Window>();
  #suppressed = 0;

  constructor(clock: Clock, perSecond: number) {
    this.#clock = clock;
    this.#perSecond = perSecond;
  }

  /** How many lines were held back since the start. */
  get suppressed(): number {
    return this.#suppressed;
  }

  /** `HELD`, or how many lines of this kind were held back since the last one that was let through. */
  admit(kind: string): number {
    const now = this.#clock.monotonic();
    let window = this.#windows.get(kind);
    if (window === undefined) {
      if (this.#windows.size >= MAX_KINDS) this.#windows.clear();
      window = { startedAt: now, passed: 0, held: 0 };
      this.#windows.set(kind, window);
    } else if (now - window.startedAt >= WINDOW_MS) {
      window.startedAt = now;
      window.passed = 0;
    }
    if (window.passed >= this.#perSecond) {
      window.held += 1;
      this.#suppressed += 1;
      return HELD;
    }
    window.passed += 1;
    const { held } = window;
    window.held = 0;
    return held;
  }
}
