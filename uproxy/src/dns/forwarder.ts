// Machine. Passes requests on by UDP: to one resolver after the other until one answers, so many at once and no more, and with
// what was kept of earlier answers.
import { randomInt } from "node:crypto";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import type { DnsSeries } from "@culvert/shared/observe/dns-metrics.ts";
import type { AnswerCache } from "./cache.ts";
import { exchange } from "./exchange.ts";
import { OPCODE_QUERY, RCODE, rcodeOf, type Query } from "./message.ts";
import type { Resolvers } from "./resolvers.ts";

/**
 * Three tries of 1.5 s are over before a client gives up (5 s in libc), so that it hears why instead of asking once more.
 */
export const TRY_MS = 1_500;
export const TRIES = 3;
/** Each has a socket, and an app that waits: more at once are an app that has gone mad. */
export const MOST_IN_FLIGHT = 128;
/** After a failover the first resolver is tried first again after this. */
const BACK_TO_FIRST_MS = 30_000;

/** One name that cannot be had is that name's trouble; so many requests in a row without an answer are the resolvers'. */
const FAILURES_TO_TELL = 3;

/** What a forwarder stands on. */
export interface ForwarderOptions {
  readonly clock: Clock;
  readonly resolvers: Resolvers;
  readonly cache: AnswerCache;
  /**
   * The addresses from which resolvers are being asked. A request that comes from one of them is our own, come back by a
   * capture rule that does not exempt us: to answer it by asking again would never end.
   */
  readonly ownSources: Set<string>;
  /** Resolvers answer no more, or do again. */
  readonly onHealth: (failure: Failure | undefined) => void;
}

/** See the head of the file. */
export class Forwarder {
  readonly #options: ForwarderOptions;
  #inFlight = 0;
  #first = 0;
  #firstSinceMs = 0;
  #failures = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** The resolvers in the order in which they are worth asking now. */
  order(): readonly Endpoint[] {
    const resolvers = this.#options.resolvers.current();
    if (this.#options.clock.monotonic() - this.#firstSinceMs >= BACK_TO_FIRST_MS) this.#first = 0;
    const first = this.#first < resolvers.length ? this.#first : 0;
    return [...resolvers.slice(first), ...resolvers.slice(0, first)];
  }

  /** Notes what came of asking: later requests begin where this one was answered. */
  note(resolver: Endpoint | undefined, failure: Failure | undefined): void {
    if (resolver !== undefined) {
      const index = this.#options.resolvers.current().indexOf(resolver);
      if (index !== this.#first) {
        this.#first = Math.max(index, 0);
        this.#firstSinceMs = this.#options.clock.monotonic();
      }
    }
    const wasFailing = this.#failures >= FAILURES_TO_TELL;
    this.#failures = failure === undefined ? 0 : this.#failures + 1;
    if (wasFailing !== this.#failures >= FAILURES_TO_TELL) this.#options.onHealth(failure);
  }

  /**
   * The answer to a request, under the client's id. Never rejects; fails with DNS_UPSTREAM_FAILED or TOO_MANY_WAITERS.
   * What is no query may change something, so it is sent once: whether to send it again is for its client to say.
   */
  async ask(asked: Buffer, query: Query, series: DnsSeries): Promise<Buffer | Failure> {
    if (this.#inFlight >= MOST_IN_FLIGHT) return fail("TOO_MANY_WAITERS", `${MOST_IN_FLIGHT} DNS requests wait`);
    const resolvers = this.order();
    if (resolvers.length === 0) return fail("DNS_UPSTREAM_FAILED", "no resolver is configured");
    this.#inFlight += 1;
    const beganMs = this.#options.clock.monotonic();
    series.upstreamRequests.add();
    const outcome = await this.#tryAll(asked, query, resolvers);
    this.#inFlight -= 1;
    if (isFailure(outcome)) series.upstreamFailures.add();
    else series.upstreamSeconds.observe((this.#options.clock.monotonic() - beganMs) / 1_000);
    if (!isFailure(outcome)) this.#options.cache.keep(asked, query, outcome);
    return outcome;
  }

  async #tryAll(asked: Buffer, query: Query, resolvers: readonly Endpoint[]): Promise<Buffer | Failure> {
    const { clock, ownSources } = this.#options;
    const tries = query.opcode === OPCODE_QUERY ? TRIES : 1;
    let outcome: Buffer | Failure = fail("DNS_UPSTREAM_FAILED", "not asked");
    const deadlineMs = clock.monotonic() + TRIES * TRY_MS;
    for (let index = 0; index < tries; index += 1) {
      const resolver = resolvers[index % resolvers.length];
      const leftMs = deadlineMs - clock.monotonic();
      if (resolver === undefined || leftMs <= 0) break;
      const timeoutMs = Math.min(TRY_MS, leftMs);
      const reply = await exchange({ resolver, asked, query, id: randomInt(65_536), timeoutMs, clock, ownSources });
      if (isFailure(reply)) {
        // A refusal that was an answer says more than the silence of the next resolver.
        if (isFailure(outcome)) outcome = reply;
        continue;
      }
      outcome = reply;
      this.note(resolver, undefined);
      const rcode = rcodeOf(reply);
      const declined = rcode === RCODE.servFail || rcode === RCODE.refused;
      if (!declined || query.opcode !== OPCODE_QUERY || index + 1 >= resolvers.length) return reply;
    }
    if (isFailure(outcome)) this.note(undefined, outcome);
    return outcome;
  }
}
