// Machine. When the next certificate is asked for: at half of the remaining life, after a failure at growing
// intervals, and never twice at once. Waiting is measured by the monotonic clock; the end of a certificate by the wall clock, which may jump.
import { fail } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { backoffDelay } from "../../net/backoff.ts";
import type { Clock, Timer } from "../../net/clock.ts";

/** What a renewal needs. */
export interface RenewalOptions {
  readonly clock: Clock;
  /** Asks for a certificate and takes it into use; or why there is none. */
  readonly renew: () => Promise<Failure | undefined>;
  /** End of the certificate in use, milliseconds since the epoch; undefined while there is none. */
  readonly notAfter: () => number | undefined;
  readonly random: () => number;
}

/** How a renewal stands, for the operator. */
export interface RenewalState {
  readonly state: "waiting" | "asking" | "failing";
  /** Milliseconds until the next try. */
  readonly nextInMs: number;
  /** Tries that have failed since the last that did not. */
  readonly failures: number;
  readonly lastFailure: Failure | undefined;
}

/** Timers of the system hold 24 days at most, and a clock may jump: so time is looked at this often. */
const TICK_MS = 1_000;
/** A thousand proxies that began together are spread over a fifth of the time. */
const SPREAD = 0.2;
/** From half a second to a second after the first failure, at most 150 s. */
const RETRY = { baseMs: 1_000, capMs: 150_000 };

/** See the head of the file. */
export class Renewal {
  readonly #options: RenewalOptions;
  readonly #ticks: Timer;
  #dueAtMs = 0;
  /** Wall time at which it is due, for a clock that was set forward. */
  #dueAtWall = 0;
  #retry: Timer | undefined;
  #asking: Promise<void> | undefined;
  #failures = 0;
  #lastFailure: Failure | undefined;
  #closed = false;

  constructor(options: RenewalOptions) {
    this.#options = options;
    this.#ticks = options.clock.every(TICK_MS, () => this.#tick());
    this.schedule();
  }

  get state(): RenewalState {
    const state = this.#asking !== undefined ? "asking" : this.#failures > 0 ? "failing" : "waiting";
    const nextInMs = Math.max(0, this.#dueAtMs - this.#options.clock.monotonic());
    return { state, nextInMs, failures: this.#failures, lastFailure: this.#lastFailure };
  }

  /** Sets the time of the next renewal by the certificate in use; without one it is due now. */
  schedule(): void {
    const { clock, notAfter, random } = this.#options;
    const end = notAfter();
    const remaining = end === undefined ? 0 : Math.max(0, end - clock.now());
    this.#due(renewalDelay(remaining, random()));
  }

  /** Asks now. Resolves when the answer is in use or its failure is noted. */
  now(): Promise<void> {
    this.#asking ??= this.#ask();
    return this.#asking;
  }

  close(): void {
    this.#closed = true;
    this.#ticks.cancel();
    this.#retry?.cancel();
  }

  async #ask(): Promise<void> {
    this.#retry?.cancel();
    this.#retry = undefined;
    const failure = await this.#renew();
    this.#asking = undefined;
    if (this.#closed) return;
    this.#lastFailure = failure;
    if (failure === undefined) {
      this.#failures = 0;
      this.schedule();
      return;
    }
    this.#failures += 1;
    const delay = backoffDelay(RETRY, this.#failures, this.#options.random());
    this.#due(delay);
    // Half a second is finer than the ticks.
    this.#retry = this.#options.clock.after(delay, () => void this.now());
  }

  /** Whatever a listener throws, the next certificate is asked for: without that the one in use would end. */
  async #renew(): Promise<Failure | undefined> {
    try {
      return await this.#options.renew();
    } catch (error) {
      return fail("INTERNAL", error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
  }

  #due(inMs: number): void {
    this.#dueAtMs = this.#options.clock.monotonic() + inMs;
    this.#dueAtWall = this.#options.clock.now() + inMs;
  }

  #tick(): void {
    const { clock } = this.#options;
    // After a failure only the retry counts: a clock that was set forward must not press a server that is down.
    if (this.#asking !== undefined || this.#retry !== undefined) return;
    if (clock.monotonic() >= this.#dueAtMs || clock.now() >= this.#dueAtWall) void this.now();
  }
}

/** Milliseconds until a certificate with `remaining` milliseconds of life is renewed: half of them, a tenth more or less. */
export function renewalDelay(remaining: number, random: number): number {
  return (remaining / 2) * (1 - SPREAD / 2 + SPREAD * random);
}
