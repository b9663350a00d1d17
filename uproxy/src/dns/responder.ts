// Machine. What becomes of one DNS request: answered here, passed on, or neither.
import type { ExplicitListener } from "@culvert/shared/config/process/process-config.ts";
import type { Demanded } from "@culvert/shared/config/snapshot.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { TokenBucket } from "@culvert/shared/net/token-bucket.ts";
import type { DnsMetrics, DnsSeries } from "@culvert/shared/observe/dns-metrics.ts";
import type { UproxyState } from "../state.ts";
import { addressAnswer, errorAnswer, malformedAnswer, type ExtendedError, type Transport } from "./answer.ts";
import type { AnswerCache } from "./cache.ts";
import { askedFor, lastGoodAddresses, meshAddresses, standInsOf, type NameContext } from "./mesh-names.ts";
import { CLASS_IN, RCODE, readQuery, TYPE_A, TYPE_AAAA, type Query } from "./message.ts";

/** More than any app asks for; what is above costs a datagram's read and nothing else, so that tunnels do not notice. */
const REQUESTS_PER_SECOND = 5_000;
const REQUEST_BURST = 2_500;

/** Codes of RFC 8914. */
const NOT_SUPPORTED = 21;
const NO_REACHABLE_AUTHORITY = 22;
const PROHIBITED = 18;

/** A request that is to be passed on. */
export interface Forward {
  readonly query: Query;
  readonly series: DnsSeries;
}

/** What a responder stands on. */
export interface ResponderOptions {
  readonly state: () => UproxyState;
  /** The explicit listeners; they stand in for services where the app's connections are not captured. */
  readonly listeners: readonly ExplicitListener[];
  readonly isCaptured: boolean;
  readonly families: () => ReadonlySet<4 | 6>;
  readonly cache: AnswerCache;
  readonly ownSources: ReadonlySet<string>;
  readonly metrics: DnsMetrics;
  readonly clock: Clock;
  /** A request that is refused because something is set up wrongly. */
  readonly onRefused: (failure: Failure) => void;
  /** A request that no resolver answered. */
  readonly onUnanswered: (failure: Failure) => void;
  /** Where names of the mesh are asked for: undefined when they are there; else why they are not, once that is known. */
  readonly demand?: ((destination: Demanded) => Promise<Failure | undefined> | undefined) | undefined;
  /** Names that are never asked for there. */
  readonly unasked?: ReadonlySet<string>;
}

/** What becomes of a request; where names must be asked for, once they are known. */
export type Verdict = Buffer | Forward | undefined | Promise<Buffer | Forward>;

/** See the head of the file. */
export class Responder {
  readonly #options: ResponderOptions;
  readonly #bucket: TokenBucket;
  #contextOf: UproxyState | undefined;
  #context: NameContext | undefined;

  constructor(options: ResponderOptions) {
    this.#options = options;
    this.#bucket = new TokenBucket(options.clock, REQUEST_BURST, REQUESTS_PER_SECOND);
  }

  /** The answer, or what is to be passed on; `undefined` when there is to be neither. `source` is the client's `ip:port`. */
  judge(asked: Buffer, transport: Transport, source: string): Verdict {
    const { metrics, state, ownSources } = this.#options;
    if (!this.#bucket.take()) {
      metrics.refused("flood");
      return undefined;
    }
    const query = readQuery(asked);
    if (query === undefined || query === "malformed") {
      metrics.refused("malformed");
      return query === undefined ? undefined : malformedAnswer(asked);
    }
    if (ownSources.has(source)) return this.#loop(asked, query, source);
    const { workload } = state();
    const series = metrics.series(query.question?.type, transport, isFailure(workload) ? undefined : workload);
    series.requests.add();
    const demanded = this.#demand(query);
    if (demanded === undefined) return this.#decide(asked, query, series, transport);
    return this.#decideLater(demanded, asked, query, series, transport);
  }

  #decide(asked: Buffer, query: Query, series: DnsSeries, transport: Transport): Buffer | Forward {
    const { metrics, cache } = this.#options;
    const own = this.#ownAnswer(asked, query, transport);
    if (own !== undefined) return own;
    const cached = cache.get(asked, query);
    if (cached === undefined) return { query, series };
    metrics.cached();
    return cached;
  }

  async #decideLater(
    demanded: readonly Promise<Failure | undefined>[],
    asked: Buffer,
    query: Query,
    series: DnsSeries,
    transport: Transport,
  ): Promise<Buffer | Forward> {
    const missing = (await Promise.all(demanded)).find((failure) => failure !== undefined);
    if (missing === undefined) return this.#decide(asked, query, series, transport);
    this.#options.onUnanswered(missing);
    return errorAnswer(asked, query, RCODE.servFail, reason(NO_REACHABLE_AUTHORITY, missing.detail));
  }

  /** What must be asked for before the name is known; undefined when that is nothing. */
  #demand(query: Query): readonly Promise<Failure | undefined>[] | undefined {
    const { demand, unasked, state } = this.#options;
    const name = demand === undefined ? undefined : hostAsked(query);
    if (demand === undefined || name === undefined) return undefined;
    // The way to the authority must not wait for the authority, under whatever suffix a resolver tries its name.
    for (const host of unasked ?? []) if (name === host || name.startsWith(`${host}.`)) return undefined;
    const waiting: Promise<Failure | undefined>[] = [];
    for (const host of askedFor(name, state().self.namespace)) {
      const outcome = demand({ kind: "name", host });
      if (outcome !== undefined) waiting.push(outcome);
    }
    return waiting.length === 0 ? undefined : waiting;
  }

  /** The answer when no resolver has one: what was last known, else an error that says why. */
  failed(asked: Buffer, query: Query, transport: Transport, failure: Failure): Buffer {
    const { metrics, state, cache, onUnanswered } = this.#options;
    onUnanswered(failure);
    if (failure.code === "TOO_MANY_WAITERS") metrics.refused("busy");
    const stale = cache.get(asked, query, true);
    if (stale !== undefined) return stale;
    const name = hostAsked(query);
    const known = name === undefined ? [] : lastGoodAddresses(name, state().snapshot.directory);
    if (known.length > 0) return addressAnswer(asked, query, known, transport);
    return errorAnswer(asked, query, RCODE.servFail, reason(NO_REACHABLE_AUTHORITY, failure.detail));
  }

  #ownAnswer(asked: Buffer, query: Query, transport: Transport): Buffer | undefined {
    const name = hostAsked(query);
    const addresses = name === undefined ? undefined : meshAddresses(name, this.#nameContext());
    if (addresses === undefined) return undefined;
    if (query.edns !== undefined && query.edns.version !== 0) {
      return errorAnswer(asked, query, RCODE.badVers, reason(NOT_SUPPORTED, "EDNS version 0 is spoken here"));
    }
    return addressAnswer(asked, query, shuffled(addresses), transport);
  }

  #loop(asked: Buffer, query: Query, source: string): Buffer {
    const { metrics, onRefused } = this.#options;
    metrics.refused("loop");
    onRefused(fail("LOOP_DETECTED", `a DNS request to a resolver came back from ${source}`));
    return errorAnswer(asked, query, RCODE.refused, reason(PROHIBITED, "a capture rule leads this proxy to itself"));
  }

  #nameContext(): NameContext {
    const { state, families, listeners, isCaptured } = this.#options;
    const now = state();
    if (this.#context !== undefined && this.#contextOf === now) return this.#context;
    const { directory } = now.snapshot;
    const { namespace } = now.self;
    this.#contextOf = now;
    const standIns = standInsOf(isCaptured ? [] : listeners, directory, namespace);
    this.#context = { directory, namespace, families: families(), isCaptured, standIns };
    return this.#context;
  }
}

/** The host name of a plain question for addresses; `undefined` for every other question. */
function hostAsked({ isPlain, question }: Query): string | undefined {
  if (!isPlain || question?.class !== CLASS_IN || question.name === "") return undefined;
  return question.type === TYPE_A || question.type === TYPE_AAAA ? question.name : undefined;
}

function reason(code: number, text: string): ExtendedError {
  return { code, text };
}

/** Fisher and Yates: many clients take the first address. */
function shuffled<T>(items: readonly T[]): T[] {
  const mixed = [...items];
  for (let last = mixed.length - 1; last > 0; last -= 1) {
    const other = Math.floor(Math.random() * (last + 1));
    const [a, b] = [mixed[last], mixed[other]];
    if (a === undefined || b === undefined) continue;
    mixed[last] = b;
    mixed[other] = a;
  }
  return mixed;
}
