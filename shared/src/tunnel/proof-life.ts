// Machine. How long a session may live on what proved its peer: until the first certificate of the proof ends, whatever the
// wall clock does meanwhile. A clock that jumps forward ends what has expired by it; one that jumps back prolongs nothing.
import type { Clock } from "../net/clock.ts";

/** See the head of the file. */
export class ProofLife {
  readonly #clock: Clock;
  readonly #graceMs: number;
  readonly #provenAt: number;
  /** Milliseconds since the epoch. */
  #notAfter: number;
  /** The same moment in monotonic time, by the clock as it was at the proof. */
  #endsAt: number;

  /** Begins at the proof. `notAfter` is milliseconds since the epoch. */
  constructor(clock: Clock, notAfter: number, graceMs: number) {
    this.#clock = clock;
    this.#graceMs = graceMs;
    this.#provenAt = clock.now();
    this.#notAfter = notAfter;
    this.#endsAt = clock.monotonic() + notAfter - this.#provenAt;
  }

  /** Whether the proof has ended by these times of the clock: nothing new may begin on it. */
  hasEnded(now: number, monotonic: number): boolean {
    return now >= this.#notAfter || monotonic >= this.#endsAt;
  }

  /** What is due now: `drain` begins nothing new on it, `end` ends what has begun, too, for the grace is over. */
  get due(): "drain" | "end" | undefined {
    const now = this.#clock.now();
    const monotonic = this.#clock.monotonic();
    if (!this.hasEnded(now, monotonic)) return undefined;
    return this.hasEnded(now - this.#graceMs, monotonic - this.#graceMs) ? "end" : "drain";
  }

  /** The proof was made anew, and ends then: it never lasts longer than the one before. */
  renew(notAfter: number): void {
    this.#notAfter = Math.min(this.#notAfter, notAfter);
    this.#endsAt = Math.min(this.#endsAt, this.#clock.monotonic() + notAfter - this.#clock.now());
  }

  /**
   * The time by which a proof is to be made anew: now, unless the clock has gone behind the first proof, or the certificate is
   * in its grace. Whether it has ended is not for that proof to say.
   */
  now(): number {
    return Math.min(Math.max(this.#clock.now(), this.#provenAt), this.#notAfter);
  }
}
