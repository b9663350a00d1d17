// Machine. Keeps the DNS names of workloads resolved, off the data path: looked up again and again, the last good answer
// kept while a name cannot be resolved.
import { lookup as systemLookup } from "node:dns/promises";
import { backoffDelay } from "../net/backoff.ts";
import type { Clock, Timer } from "../net/clock.ts";
import { parseIp, type Ip } from "../net/ip.ts";
import { mayBeVirtual } from "../workload/virtual-address.ts";

/** Resolves a DNS name to all of its addresses; rejects when it cannot. */
export type Lookup = (host: string) => Promise<readonly Ip[]>;

/** A name is asked for again after this. `getaddrinfo` tells no lifetime; compose and Kubernetes move names in seconds. */
const PERIOD_MS = 15_000;
/** After a failure: soon, then ever more rarely up to the period. */
const RETRY = { baseMs: 500, capMs: PERIOD_MS };
/** A lookup that takes longer counts as failed. */
const DEADLINE_MS = 5_000;
/** How long a new snapshot waits for names that have never been answered. */
const FIRST_ANSWER_MS = 2_000;
/** `getaddrinfo` holds one of Node's four worker threads, which file access needs too. */
const MOST_IN_FLIGHT = 2;
/** Addresses taken of one answer. */
const MOST_ADDRESSES = 64;

interface Name {
  readonly host: string;
  addresses: readonly Ip[];
  failures: number;
  isTried: boolean;
  timer: Timer | undefined;
}

/** What a resolver needs. */
export interface NameResolverOptions {
  readonly clock: Clock;
  /** The system's resolver when not given. */
  readonly lookup?: Lookup;
  /** The addresses of some name are others than before. */
  readonly onChange: () => void;
  /** A name that had been resolved, or never was, can no longer be: once, until it is resolved again. */
  readonly onUnresolved: (host: string, text: string) => void;
}

/** The names that are being watched, with their addresses. */
export class NameResolver {
  readonly #clock: Clock;
  readonly #lookup: Lookup;
  readonly #onChange: () => void;
  readonly #onUnresolved: (host: string, text: string) => void;
  readonly #names = new Map<string, Name>();
  readonly #queue: Name[] = [];
  readonly #waiters = new Set<() => void>();
  #inFlight = 0;

  constructor(options: NameResolverOptions) {
    this.#clock = options.clock;
    this.#lookup = options.lookup ?? lookupAll;
    this.#onChange = options.onChange;
    this.#onUnresolved = options.onUnresolved;
  }

  /** Says which names are wanted from now on; the others are forgotten. */
  watch(hosts: ReadonlySet<string>): void {
    for (const [host, name] of this.#names) {
      if (hosts.has(host)) continue;
      name.timer?.cancel();
      this.#names.delete(host);
    }
    for (const host of hosts) {
      if (this.#names.has(host)) continue;
      const name: Name = { host, addresses: [], failures: 0, isTried: false, timer: undefined };
      this.#names.set(host, name);
      this.#queue.push(name);
    }
    this.#next();
  }

  /** The addresses of a name, sorted; empty while it has never been resolved. */
  addresses(host: string): readonly Ip[] {
    return this.#names.get(host)?.addresses ?? [];
  }

  /** Resolves when every name has been tried once, at the latest after two seconds. */
  settled(): Promise<void> {
    if (this.#isSettled()) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        this.#waiters.delete(done);
        resolve();
      };
      const timer = this.#clock.after(FIRST_ANSWER_MS, done);
      this.#waiters.add(done);
    });
  }

  close(): void {
    this.watch(new Set());
    for (const done of this.#waiters) done();
  }

  #isSettled(): boolean {
    for (const name of this.#names.values()) if (!name.isTried) return false;
    return true;
  }

  #next(): void {
    while (this.#inFlight < MOST_IN_FLIGHT) {
      const name = this.#queue.shift();
      if (name === undefined) return;
      if (this.#names.get(name.host) === name) void this.#ask(name);
    }
  }

  /** Never rejects. */
  async #ask(name: Name): Promise<void> {
    this.#inFlight += 1;
    let isLate = false;
    const deadline = this.#clock.after(DEADLINE_MS, () => {
      isLate = true;
      this.#failed(name, `no answer in ${DEADLINE_MS} ms`);
    });
    try {
      const addresses = await this.#lookup(name.host);
      if (!isLate) this.#answered(name, addresses);
    } catch (error) {
      if (!isLate) this.#failed(name, error instanceof Error ? error.message : String(error));
    }
    deadline.cancel();
    // A late lookup still held its thread, so it has counted as in flight until now.
    this.#inFlight -= 1;
    this.#next();
  }

  #answered(name: Name, answer: readonly Ip[]): void {
    // A virtual address would be our own answer to our own question: this host's DNS leads to this uproxy.
    const real = answer.filter((address) => !mayBeVirtual(address));
    const addresses = [...new Set(real)].toSorted().slice(0, MOST_ADDRESSES);
    if (addresses.length === 0) {
      this.#failed(name, "the name has no address");
      return;
    }
    name.failures = 0;
    const isChanged = addresses.join() !== name.addresses.join();
    name.addresses = addresses;
    this.#again(name, backoffDelay({ baseMs: PERIOD_MS, capMs: PERIOD_MS }, 1, Math.random()), isChanged);
  }

  #failed(name: Name, text: string): void {
    name.failures += 1;
    const isNews = name.failures === 1 && this.#names.get(name.host) === name;
    this.#again(name, backoffDelay(RETRY, name.failures, Math.random()), false);
    if (isNews) this.#onUnresolved(name.host, text);
  }

  #again(name: Name, delayMs: number, isChanged: boolean): void {
    if (this.#names.get(name.host) !== name) return;
    const isAwaited = !name.isTried && this.#waiters.size > 0;
    name.isTried = true;
    name.timer = this.#clock.after(delayMs, () => {
      this.#queue.push(name);
      this.#next();
    });
    if (this.#isSettled()) for (const done of this.#waiters) done();
    // Whoever waits for first answers will read them.
    if (isChanged && !isAwaited) this.#onChange();
  }
}

let beyond: Lookup | undefined;

/**
 * Says whom to ask for what lies beyond the mesh: for this process, which has at most one DNS proxy. Where the system's resolver leads to
 * it, a name that stands for a service there has virtual addresses, which are of no use to ourselves.
 */
export function lookUpBeyond(lookup: Lookup | undefined): void {
  beyond = lookup;
}

async function lookupAll(host: string): Promise<readonly Ip[]> {
  const answers = await systemLookup(host, { all: true, order: "verbatim" });
  const addresses = answers.map(({ address }) => parseIp(address)).filter((ip) => ip !== undefined);
  return beyond !== undefined && addresses.every(mayBeVirtual) ? beyond(host) : addresses;
}
