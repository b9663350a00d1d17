// Machine. Deadlines of one length for very many waits: a linked list and one timer, where a timer each would cost more than
// the rest of a connection's bookkeeping.
import type { Clock } from "./clock.ts";

/** One wait. */
export interface Deadline {
  /** Takes the wait off the list; does nothing once it has run or was cancelled. */
  cancel(): void;
}

/** Waits of `delayMs` each, so that the oldest is always the next one due. */
export class Deadlines {
  readonly #clock: Clock;
  readonly #delayMs: number;
  readonly #head = new Entry(0, () => {});
  #armed = false;

  constructor(clock: Clock, delayMs: number) {
    this.#clock = clock;
    this.#delayMs = delayMs;
  }

  /** Calls `run` once after the delay, unless it is cancelled before. */
  after(run: () => void): Deadline {
    const entry = new Entry(this.#clock.monotonic() + this.#delayMs, run);
    const { previous } = this.#head;
    entry.previous = previous;
    entry.next = this.#head;
    previous.next = entry;
    this.#head.previous = entry;
    if (!this.#armed) this.#arm(this.#delayMs);
    return entry;
  }

  #arm(delayMs: number): void {
    this.#armed = true;
    this.#clock.after(delayMs, () => this.#expire());
  }

  #expire(): void {
    this.#armed = false;
    const now = this.#clock.monotonic();
    // A wait that is added by one of these falls due later, so the loop ends.
    for (let first = this.#head.next; first !== this.#head; first = this.#head.next) {
      if (first.dueMs > now) {
        if (!this.#armed) this.#arm(first.dueMs - now);
        return;
      }
      first.cancel();
      first.run();
    }
  }
}

class Entry implements Deadline {
  readonly dueMs: number;
  readonly run: () => void;
  previous: Entry = this;
  next: Entry = this;

  constructor(dueMs: number, run: () => void) {
    this.dueMs = dueMs;
    this.run = run;
  }

  cancel(): void {
    this.previous.next = this.next;
    this.next.previous = this.previous;
    this.next = this;
    this.previous = this;
  }
}

const known = new WeakMap<Clock, Map<number, Deadlines>>();

/** The one list of a clock for waits of this length: who waits equally long shares the timer. */
export function deadlinesOf(clock: Clock, delayMs: number): Deadlines {
  let byDelay = known.get(clock);
  if (byDelay === undefined) known.set(clock, (byDelay = new Map()));
  let deadlines = byDelay.get(delayMs);
  if (deadlines === undefined) byDelay.set(delayMs, (deadlines = new Deadlines(clock, delayMs)));
  return deadlines;
}
