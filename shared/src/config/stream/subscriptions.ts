// Machine. The destinations that a uproxy asks the authority for: each once, however many wait for it; forgotten when nothing goes
// there any more. A destination that has been answered costs one look into a map.
import { fail, type Failure } from "../../failure/failure.ts";
import type { Clock, Timer } from "../../net/clock.ts";
import type { Ip } from "../../net/ip.ts";
import { mayBeVirtual } from "../../workload/virtual-address.ts";
import type { Demanded, Snapshot } from "../snapshot.ts";
import { isKey } from "./frames.ts";
import { demandedOf, keyOf } from "./keys.ts";
import type { StreamLimits } from "./stream-options.ts";

/** What they need. None of it may throw. */
export interface SubscriptionsOptions {
  readonly clock: Clock;
  readonly limits: StreamLimits;
  /** Namespace in which the own app's names are read. */
  readonly namespace: () => string;
  /** The snapshot in use; undefined while there is none. */
  readonly snapshot: () => Snapshot | undefined;
  /** Whether the authority is there: only then is anything forgotten. */
  readonly connected: () => boolean;
  /** Keys that the authority is to be asked for, or no longer. */
  readonly onChange: (wanted: readonly string[], unwanted: readonly string[]) => void;
}

/** The idle time is seen in steps, so that a connection need not ask for the time. */
const STEPS = 4;
/** Characters shown of what is no name. */
const MAX_SHOWN = 80;

type Outcome = Failure | undefined;

/** One destination. */
interface Subscription {
  readonly key: string;
  readonly demanded: Demanded;
  /** Whether the snapshot in use says all of it. */
  isAnswered: boolean;
  /** Why it is not, when the authority's word on it could not be used. */
  refused: Failure | undefined;
  /** Steps since it was last used. */
  age: number;
  /** Its place in the order of uses. */
  used: number;
  /** Whoever waits, and until when. */
  round:
    | { readonly outcome: Promise<Outcome>; readonly settle: (outcome: Outcome) => void; readonly deadline: Timer }
    | undefined;
}

/** See the head of the file. */
export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #hosts = new Map<string, Subscription>();
  readonly #ips = new Map<Ip, Subscription>();
  readonly #steps: Timer;
  /** Services of the snapshot whose name was asked for; made when an address is looked for, and forgotten with the snapshot. */
  #services: Map<string, Subscription> | undefined;
  readonly #users = new Set<() => Iterable<Demanded>>();
  #waiting = 0;
  #uses = 0;

  constructor(options: SubscriptionsOptions) {
    this.#options = options;
    this.#steps = options.clock.every(options.limits.subscriptionIdleMs / STEPS, () => this.#step());
  }

  get size(): number {
    return this.#hosts.size + this.#ips.size;
  }

  /** Destinations that are waited for. */
  get waiting(): number {
    return this.#waiting;
  }

  /** The keys of all, as the authority is asked for them. */
  keys(): string[] {
    return [...this.#all()].map(({ key }) => key);
  }

  /** The keys that the snapshot in use answers. */
  answeredKeys(): string[] {
    return [...this.#all()].filter(({ isAnswered }) => isAnswered).map(({ key }) => key);
  }

  /** What is never forgotten while `users` name it: destinations of connections that live, and the like. */
  keep(users: () => Iterable<Demanded>): () => void {
    this.#users.add(users);
    return () => void this.#users.delete(users);
  }

  /** Undefined when the snapshot in use says what the destination is; else why it does not, once that is known. */
  demand(demanded: Demanded): Promise<Outcome> | undefined {
    const found = this.#find(demanded);
    if (found === undefined) return this.#ask(demanded);
    this.#use(found);
    return found.isAnswered ? undefined : this.#wait(found);
  }

  /** Takes over keys of another process's life, which the snapshot that is restored answers. */
  restore(keys: readonly string[]): void {
    for (const key of keys) {
      const demanded = demandedOf(key);
      if (demanded !== undefined && this.size < this.#options.limits.maxSubscriptions)
        this.#add(demanded).isAnswered = true;
    }
  }

  /** The snapshot in use says all of these from now on. */
  answered(keys: readonly string[]): void {
    this.#services = undefined;
    for (const key of keys) {
      const demanded = demandedOf(key);
      const subscription = demanded === undefined ? undefined : this.#get(demanded);
      if (subscription === undefined) continue;
      subscription.isAnswered = true;
      subscription.refused = undefined;
      subscription.round?.settle(undefined);
    }
  }

  /** What the authority said could not be used: nobody is to wait for it. */
  refused(keys: readonly string[], failure: Failure): void {
    for (const key of keys) {
      const demanded = demandedOf(key);
      const subscription = demanded === undefined ? undefined : this.#get(demanded);
      if (subscription === undefined || subscription.isAnswered) continue;
      subscription.refused = failure;
      subscription.round?.settle(failure);
    }
  }

  close(): void {
    this.#steps.cancel();
    this.#users.clear();
    const failure = fail("CONFIGURATION_UNAVAILABLE", "the process ends");
    for (const { round } of this.#all()) round?.settle(failure);
  }

  #ask(demanded: Demanded): Promise<Outcome> {
    const { limits, onChange } = this.#options;
    const key = keyOf(demanded);
    const mayAsk: boolean = isKey(key);
    if (!mayAsk) {
      const text = `${JSON.stringify(key.slice(0, MAX_SHOWN))} is no name that the authority could be asked for`;
      return Promise.resolve(fail("CONFIGURATION_UNAVAILABLE", text));
    }
    const left = this.size < limits.maxSubscriptions ? undefined : this.#oldest();
    if (left === undefined && this.size >= limits.maxSubscriptions) {
      const text = `${this.size} destinations are asked for, and all are in use (limits.maxSubscriptions)`;
      return Promise.resolve(fail("CONFIGURATION_UNAVAILABLE", text));
    }
    if (left !== undefined) this.#remove(left);
    const subscription = this.#add(demanded);
    onChange([subscription.key], left === undefined ? [] : [left.key]);
    return this.#wait(subscription);
  }

  /** One promise for all who wait, and one deadline; who comes after it waits anew. */
  #wait(subscription: Subscription): Promise<Outcome> {
    if (subscription.refused !== undefined) return Promise.resolve(subscription.refused);
    if (subscription.round !== undefined) return subscription.round.outcome;
    const { clock, limits, connected } = this.#options;
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const settle = (outcome: Outcome): void => {
      if (subscription.round === undefined) return;
      subscription.round.deadline.cancel();
      subscription.round = undefined;
      this.#waiting -= 1;
      resolve(outcome);
    };
    const deadline = clock.after(limits.configurationWaitMs, () => {
      const why = connected() ? "the authority has not answered" : "the authority cannot be reached";
      settle(fail("CONFIGURATION_UNAVAILABLE", `${subscription.key}: ${why} in ${limits.configurationWaitMs} ms`));
    });
    subscription.round = { outcome: promise, settle, deadline };
    this.#waiting += 1;
    return promise;
  }

  #find(demanded: Demanded): Subscription | undefined {
    return this.#get(demanded) ?? (demanded.kind === "ip" ? this.#byService(demanded.ip) : undefined);
  }

  #get(demanded: Demanded): Subscription | undefined {
    return demanded.kind === "ip" ? this.#ips.get(demanded.ip) : this.#hosts.get(demanded.host.toLowerCase());
  }

  /**
   * An address of a service whose name has been answered needs no answer of its own. That of a ServiceEntry does, unless it was made
   * from the name: what it claims could be another's.
   */
  #byService(ip: Ip): Subscription | undefined {
    const { snapshot, namespace } = this.#options;
    const directory = snapshot()?.directory;
    const service = directory?.serviceByVip(ip, namespace());
    if (directory === undefined || service === undefined) return undefined;
    if (service.entry !== undefined && !mayBeVirtual(ip)) return undefined;
    if (this.#services === undefined) {
      this.#services = new Map();
      for (const [host, subscription] of this.#hosts) {
        const named = subscription.isAnswered ? directory.serviceByHost(host, namespace()) : undefined;
        if (named !== undefined) this.#services.set(named.uid, subscription);
      }
    }
    return this.#services.get(service.uid);
  }

  #use(subscription: Subscription): void {
    subscription.age = 0;
    subscription.used = ++this.#uses;
  }

  #add(demanded: Demanded): Subscription {
    const subscription: Subscription = {
      key: keyOf(demanded),
      demanded,
      isAnswered: false,
      refused: undefined,
      age: 0,
      used: ++this.#uses,
      round: undefined,
    };
    if (demanded.kind === "ip") this.#ips.set(demanded.ip, subscription);
    else this.#hosts.set(demanded.host.toLowerCase(), subscription);
    return subscription;
  }

  #remove({ demanded }: Subscription): void {
    this.#services = undefined;
    if (demanded.kind === "ip") this.#ips.delete(demanded.ip);
    else this.#hosts.delete(demanded.host.toLowerCase());
  }

  /** The one that may go when another is wanted: of those that nothing goes to now, the one that was used longest ago. */
  #oldest(): Subscription | undefined {
    if (!this.#options.connected()) return undefined;
    const used = new Set(this.#used());
    let oldest: Subscription | undefined;
    for (const subscription of this.#all()) {
      if (subscription.round !== undefined || used.has(subscription)) continue;
      if (oldest === undefined || subscription.used < oldest.used) oldest = subscription;
    }
    return oldest;
  }

  /** While the authority is away nothing grows older: what is forgotten could not be asked for again. */
  #step(): void {
    if (!this.#options.connected()) return;
    for (const subscription of this.#all()) subscription.age += 1;
    for (const subscription of this.#used()) this.#use(subscription);
    const idle = [...this.#all()].filter(({ age, round }) => age > STEPS && round === undefined);
    if (idle.length === 0) return;
    for (const subscription of idle) this.#remove(subscription);
    this.#options.onChange(
      [],
      idle.map(({ key }) => key),
    );
  }

  *#used(): Generator<Subscription> {
    for (const users of this.#users) {
      for (const demanded of users()) {
        const subscription = this.#find(demanded);
        if (subscription !== undefined) yield subscription;
      }
    }
  }

  *#all(): Generator<Subscription> {
    yield* this.#hosts.values();
    yield* this.#ips.values();
  }
}
