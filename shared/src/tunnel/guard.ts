// Machine. Counts one session's misbehaviour against its budgets (`limits.ts`) and says when it is spent. It knows no
// session: each call returns the failure for which the session is to be ended, or nothing.
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { TokenBucket } from "../net/token-bucket.ts";
import type { TunnelLimits } from "./limits.ts";

/** The guard of one accepted session. */
export class SessionGuard {
  readonly #clock: Clock;
  readonly #limits: TunnelLimits;
  readonly #startedAtMs: number;
  readonly #earlyResets: TokenBucket;
  readonly #badRequests: TokenBucket;
  #acknowledged = false;
  #sawRequest = false;
  #alive = false;
  #unacknowledgedBytes = 0;
  #oversized = 0;

  constructor(limits: TunnelLimits, clock: Clock) {
    this.#clock = clock;
    this.#limits = limits;
    this.#startedAtMs = clock.monotonic();
    this.#earlyResets = new TokenBucket(clock, limits.earlyResetBurst, limits.earlyResetsPerSecond);
    this.#badRequests = new TokenBucket(clock, limits.badRequestBurst, limits.badRequestsPerSecond);
  }

  /** The peer has acknowledged our SETTINGS: from now on the HTTP/2 library holds it to them. */
  settingsAcknowledged(): void {
    this.#acknowledged = true;
  }

  /** No request has come yet, and the peer may as well be one that sends half a frame and no more. */
  get isSuspect(): boolean {
    return !this.#sawRequest && !this.#alive;
  }

  /** The peer has answered a PING. In the middle of a frame it could not: it has a session ready for requests to come. */
  answeredPing(): void {
    this.#alive = true;
  }

  /** A complete request head of `bytes` has arrived. `oversized` if it must be refused with 431. */
  head(bytes: number): { readonly oversized: boolean; readonly end: Failure | undefined } {
    this.#sawRequest = true;
    if (!this.#acknowledged) this.#unacknowledgedBytes += bytes;
    const oversized = bytes > this.#limits.maxHeaderListSize;
    if (oversized) this.#oversized += 1;
    if (this.#oversized > this.#limits.maxOversizedHeads) return { oversized, end: spent("oversized heads") };
    if (this.#unacknowledgedBytes > this.#limits.maxUnacknowledgedHeaderBytes) {
      return { oversized, end: spent("header bytes before the SETTINGS acknowledgement") };
    }
    return { oversized, end: undefined };
  }

  /** The peer took a request back before it was answered. */
  earlyReset(): Failure | undefined {
    return this.#earlyResets.take() ? undefined : spent("requests taken back before the answer");
  }

  /** A request was refused for its form. */
  badRequest(): Failure | undefined {
    return this.#badRequests.take() ? undefined : spent("malformed requests");
  }

  /** To be called now and then: deadlines that no event marks. */
  overdue(): Failure | undefined {
    const age = this.#clock.monotonic() - this.#startedAtMs;
    if (!this.#acknowledged && age >= this.#limits.settingsTimeoutMs) {
      return fail("MISBEHAVING_PEER", `SETTINGS not acknowledged in ${this.#limits.settingsTimeoutMs} ms`);
    }
    if (this.isSuspect && age >= this.#limits.firstHeadersTimeoutMs) {
      return fail("REQUEST_TIMEOUT", `no request in ${this.#limits.firstHeadersTimeoutMs} ms`);
    }
    return undefined;
  }
}

function spent(what: string): Failure {
  return fail("MISBEHAVING_PEER", `too many ${what}`);
}
