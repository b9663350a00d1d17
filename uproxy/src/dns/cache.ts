// Machine. Answers of resolvers, kept for as long as their records live: an app asks for the same few names again and again,
// and each question costs a socket and a way there and back.
import type { Clock } from "@culvert/shared/net/clock.ts";
import { CLASS_IN, isTruncated, OPCODE_QUERY, RCODE, rcodeOf, readLifetimes, type Query } from "./message.ts";

/** What the cache may hold. */
export interface CacheLimits {
  readonly entries: number;
  readonly bytes: number;
  /** A larger answer is passed on and not kept. */
  readonly entryBytes: number;
  /** However long the records live: what an operator has changed is to be seen within this. */
  readonly seconds: number;
  /** An answer whose time is over serves for this much longer while no resolver answers (RFC 8767). */
  readonly staleSeconds: number;
}

/** More names than one app asks for, in a MiB. */
export const CACHE_LIMITS: CacheLimits = {
  entries: 1_024,
  bytes: 1024 * 1024,
  entryBytes: 4 * 1024,
  seconds: 300,
  staleSeconds: 3_600,
};

/** RFC 8767 section 5. */
const STALE_TTL_SECONDS = 30;
/** Of an entry beside its bytes: the key, and what holds it. */
const OVERHEAD_BYTES = 200;

interface Entry {
  readonly reply: Buffer;
  readonly offsets: readonly number[];
  readonly keptAtMs: number;
  readonly seconds: number;
  readonly weight: number;
}

/** See the head of the file. The oldest unused entry goes first. */
export class AnswerCache {
  readonly #clock: Clock;
  readonly #limits: CacheLimits;
  readonly #entries = new Map<string, Entry>();
  #bytes = 0;

  constructor(clock: Clock, limits: CacheLimits = CACHE_LIMITS) {
    this.#clock = clock;
    this.#limits = limits;
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The kept answer to this very question, with its lifetimes counted down. `stale`: also one whose time is over. */
  get(asked: Buffer, query: Query, stale = false): Buffer | undefined {
    if (!isCacheable(query)) return undefined;
    const key = keyOf(asked);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const age = Math.floor((this.#clock.monotonic() - entry.keptAtMs) / 1_000);
    const isOver = age >= entry.seconds;
    if (age >= entry.seconds + this.#limits.staleSeconds) this.#drop(key, entry);
    if (isOver && !(stale && this.#entries.has(key))) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    const reply = Buffer.from(entry.reply);
    reply.writeUInt16BE(query.id, 0);
    for (const offset of entry.offsets) {
      reply.writeUInt32BE(isOver ? STALE_TTL_SECONDS : reply.readUInt32BE(offset) - age, offset);
    }
    return reply;
  }

  /** Keeps an answer if it says for how long, and if it is one that holds for everybody who asks the same. */
  keep(asked: Buffer, query: Query, reply: Buffer): void {
    const { entries, bytes, entryBytes, seconds } = this.#limits;
    const rcode = rcodeOf(reply);
    if (!isCacheable(query) || isTruncated(reply) || reply.length > entryBytes) return;
    if (rcode !== RCODE.noError && rcode !== RCODE.nxDomain) return;
    const lifetimes = readLifetimes(reply);
    if (lifetimes === undefined || lifetimes.seconds === 0) return;
    const key = keyOf(asked);
    const old = this.#entries.get(key);
    if (old !== undefined) this.#drop(key, old);
    const weight = reply.length + 2 * key.length + OVERHEAD_BYTES;
    this.#entries.set(key, {
      // A copy of its own: the received one is a slice of a larger buffer, which it would keep alive.
      reply: Buffer.from(reply),
      offsets: lifetimes.offsets,
      keptAtMs: this.#clock.monotonic(),
      seconds: Math.min(lifetimes.seconds, seconds),
      weight,
    });
    this.#bytes += weight;
    for (const [oldest, entry] of this.#entries) {
      if (this.#entries.size <= entries && this.#bytes <= bytes) return;
      this.#drop(oldest, entry);
    }
  }

  /** Other resolvers may say otherwise. */
  clear(): void {
    this.#entries.clear();
    this.#bytes = 0;
  }

  #drop(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#bytes -= entry.weight;
  }
}

/** Options of EDNS (cookies, subnets) make a question one of a kind. */
function isCacheable(query: Query): boolean {
  return query.isPlain && query.opcode === OPCODE_QUERY && query.edns?.hasOptions !== true && isInternet(query);
}

function isInternet({ question }: Query): boolean {
  return question?.class === CLASS_IN;
}

/** The whole question: flags, name as it is spelled, type, EDNS. */
function keyOf(asked: Buffer): string {
  return asked.toString("latin1", 2);
}
