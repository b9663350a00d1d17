// Pure. The scopes that clients hold, each worked out once for all who have the same one, and found by the topics that they asked for:
// a change costs those whom it concerns.
import type { ResourceIndex } from "@culvert/shared/config/scope/resource-index.ts";
import type { Scope } from "@culvert/shared/config/scope/walk.ts";
import { Tally } from "../tally.ts";

/** Somebody who holds scopes. */
export interface ScopeHolder {
  /** These documents have changed, come or gone in one of the scopes. */
  concerned(ids: Iterable<string>): void;
}

/** A scope that is held. */
export interface HeldScope {
  readonly key: string;
  readonly ids: ReadonlySet<string>;
}

class Entry implements HeldScope {
  readonly key: string;
  readonly namespace: string;
  readonly work: (index: ResourceIndex) => Scope;
  readonly holders = new Set<ScopeHolder>();
  scope: Scope;

  constructor(key: string, namespace: string, work: (index: ResourceIndex) => Scope, index: ResourceIndex) {
    this.key = key;
    this.namespace = namespace;
    this.work = work;
    this.scope = work(index);
  }

  get ids(): ReadonlySet<string> {
    return this.scope.ids;
  }
}

/** See the head of the file. */
export class SharedScopes {
  readonly #index: ResourceIndex;
  readonly #entries = new Map<string, Entry>();
  readonly #byTopic = new Map<string, Set<Entry>>();
  readonly #counts = new Tally<string>();

  constructor(index: ResourceIndex) {
    this.#index = index;
  }

  get size(): number {
    return this.#entries.size;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Scopes of the clients of a namespace. */
  sizeOf(namespace: string): number {
    return this.#counts.of(namespace);
  }

  /** Takes a scope for a holder in `namespace`; `work` makes it where nobody has the key yet. */
  acquire(key: string, namespace: string, holder: ScopeHolder, work: (index: ResourceIndex) => Scope): HeldScope {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = new Entry(key, namespace, work, this.#index);
      this.#entries.set(key, entry);
      this.#counts.add(namespace);
      this.#list(entry, entry.scope.topics);
    }
    entry.holders.add(holder);
    return entry;
  }

  /** Gives a scope back; the last holder takes it away. */
  release({ key }: HeldScope, holder: ScopeHolder): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.holders.delete(holder);
    if (entry.holders.size > 0) return;
    this.#entries.delete(key);
    this.#counts.remove(entry.namespace);
    for (const topic of entry.scope.topics) this.#unlist(entry, topic);
  }

  /** Works out anew what a change concerns, and tells the holders. A step for each scope, so that others may have a turn between. */
  *changed(topics: ReadonlySet<string>, ids: ReadonlySet<string>): Generator<undefined> {
    const concerned = new Set<Entry>();
    for (const topic of topics) for (const entry of this.#byTopic.get(topic) ?? []) concerned.add(entry);
    for (const entry of concerned) {
      if (entry.holders.size === 0) continue;
      const before = entry.scope;
      const after = entry.work(this.#index);
      entry.scope = after;
      for (const topic of before.topics) if (!after.topics.has(topic)) this.#unlist(entry, topic);
      this.#list(entry, after.topics);
      const touched = [...before.ids.symmetricDifference(after.ids), ...after.ids.intersection(ids)];
      if (touched.length > 0) for (const holder of entry.holders) holder.concerned(touched);
      yield;
    }
  }

  #list(entry: Entry, topics: ReadonlySet<string>): void {
    for (const topic of topics) {
      const listed = this.#byTopic.get(topic);
      if (listed === undefined) this.#byTopic.set(topic, new Set([entry]));
      else listed.add(entry);
    }
  }

  #unlist(entry: Entry, topic: string): void {
    const listed = this.#byTopic.get(topic);
    listed?.delete(entry);
    if (listed?.size === 0) this.#byTopic.delete(topic);
  }
}
