// Machine. One client of the configuration stream: what it holds, what it wants, and one update in flight between the two. Changes that
// come meanwhile become one update, so that a slow client costs what a fast one does.
import type { Hello, PackedDocument, PackedUpdate, RefusedField } from "@culvert/shared/config/stream/frames.ts";
import { FRAME_LIMITS } from "@culvert/shared/config/stream/frames.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { Mesh } from "./mesh.ts";
import type { HeldScope, ScopeHolder } from "./shared-scopes.ts";

export interface ConfigClientOptions {
  readonly id: SpiffeId;
  readonly remote: string;
  readonly hello: Hello;
  readonly mesh: Mesh;
  /** Something of what it wants has changed. */
  readonly onConcerned: () => void;
  /** Milliseconds; does not go backwards. */
  readonly now: () => number;
}

/** An update that has been sent and is neither taken nor refused. */
interface Flight {
  readonly nonce: number;
  readonly version: string;
  /** The version of each document that it brings; `undefined`: it takes the document away. */
  readonly documents: ReadonlyMap<string, string | undefined>;
  readonly answered: readonly string[];
  readonly sentAtMs: number;
}

/** What became of an update. */
export interface Outcome {
  readonly nonce: number;
  readonly version: string;
  readonly tookMs: number;
}

/** What an operator wants to know of a client. */
export interface ClientFacts {
  readonly identity: SpiffeId;
  readonly remote: string;
  readonly proxy: Hello["proxy"];
  /** The WorkloadEntry or Gateway that it says it stands for. */
  readonly resource: string;
  readonly documents: number;
  readonly subscriptions: number;
  /** The state that it took last; empty before the first. */
  readonly acknowledged: string;
  /** Since when an update waits for its answer, in milliseconds; null when none does. */
  readonly waitingMs: number | null;
  readonly refused: readonly RefusedField[];
}

/** See the head of the file. */
export class ConfigClient implements ScopeHolder {
  readonly #options: ConfigClientOptions;
  /** What the client holds, as far as it has said so. */
  readonly #held: Map<string, string>;
  /** Documents of which it may hold another version than the one of now. */
  readonly #dirty = new Set<string>();
  #own: HeldScope | undefined;
  /** Scopes of the keys that it has subscribed to. */
  readonly #subscribed = new Map<string, HeldScope>();
  /** Keys that it has not been told the documents of. */
  readonly #unanswered = new Set<string>();
  #flight: Flight | undefined;
  /** What it refused last: the very same is not sent again. */
  #refusal: string | undefined;
  #refused: readonly RefusedField[] = [];
  #acknowledged = "";
  #nonce = 0;

  constructor(options: ConfigClientOptions) {
    this.#options = options;
    this.#held = new Map(options.hello.have);
    this.concerned(this.#held.keys());
  }

  /** How many keys it has subscribed to. */
  get subscriptions(): number {
    return this.#subscribed.size;
  }

  isSubscribed(key: string): boolean {
    return this.#subscribed.has(key);
  }

  /** Every scope that it holds. */
  scopes(): readonly HeldScope[] {
    return [...(this.#own === undefined ? [] : [this.#own]), ...this.#subscribed.values()];
  }

  /** Milliseconds that an update has waited for its answer; 0 when none does. */
  get waitingMs(): number {
    return this.#flight === undefined ? 0 : this.#options.now() - this.#flight.sentAtMs;
  }

  concerned(ids: Iterable<string>): void {
    for (const id of ids) this.#dirty.add(id);
    this.#options.onConcerned();
  }

  /** It has a scope without asking for it. */
  hold(own: HeldScope): void {
    this.#own = own;
    this.concerned(own.ids);
  }

  /** It wants the documents of a key, which is answered once they are there. */
  subscribe(key: string, scope: HeldScope): void {
    this.#subscribed.set(key, scope);
    this.#unanswered.add(key);
    this.concerned(scope.ids);
  }

  /** It wants those of a key no longer; returns the scope that it held, if it did. */
  unsubscribe(key: string): HeldScope | undefined {
    const scope = this.#subscribed.get(key);
    if (scope === undefined) return undefined;
    this.#subscribed.delete(key);
    this.#unanswered.delete(key);
    this.concerned(scope.ids);
    return scope;
  }

  /** The next update's parts, a message each; undefined while one is in flight, or nothing is new. The first one comes in any case. */
  next(): readonly PackedUpdate[] | undefined {
    if (this.#flight !== undefined) return undefined;
    const { mesh } = this.#options;
    const set = new Map<string, PackedDocument>();
    const documents = new Map<string, string | undefined>();
    for (const id of this.#dirty) {
      const document = this.#wants(id) ? mesh.document(id) : undefined;
      if (document?.version === this.#held.get(id)) this.#dirty.delete(id);
      else {
        documents.set(id, document?.version);
        if (document !== undefined) set.set(id, document);
      }
    }
    const answered = [...this.#unanswered].slice(0, FRAME_LIMITS.keys);
    if (this.#nonce > 0 && documents.size === 0 && answered.length === 0) return undefined;
    if (this.#refusal !== undefined && this.#refusal === contentOf(documents, answered)) return undefined;
    this.#nonce += 1;
    const { version } = mesh;
    this.#flight = { nonce: this.#nonce, version, documents, answered, sentAtMs: this.#options.now() };
    const removed = [...documents].flatMap(([id, kept]) => (kept === undefined ? [id] : []));
    return partsOf({ nonce: this.#nonce, version, set, removed, answered, more: false });
  }

  /** The update is in use there; undefined when none of that nonce was in flight. */
  acknowledge(nonce: number): Outcome | undefined {
    const flight = this.#land(nonce);
    if (flight === undefined) return undefined;
    for (const [id, version] of flight.documents) {
      if (version === undefined) this.#held.delete(id);
      else this.#held.set(id, version);
    }
    for (const key of flight.answered) this.#unanswered.delete(key);
    this.#acknowledged = flight.version;
    this.#refusal = undefined;
    this.#refused = [];
    return this.#outcome(flight);
  }

  /** The update was refused as a whole; what was acknowledged last stays there. */
  refuse(nonce: number, problems: readonly RefusedField[]): Outcome | undefined {
    const flight = this.#land(nonce);
    if (flight === undefined) return undefined;
    this.#refusal = contentOf(flight.documents, flight.answered);
    this.#refused = problems;
    return this.#outcome(flight);
  }

  facts(): ClientFacts {
    const { id, remote, hello } = this.#options;
    return {
      identity: id,
      remote,
      proxy: hello.proxy,
      resource: hello.gateway ?? hello.workload ?? "",
      documents: this.#held.size,
      subscriptions: this.#subscribed.size,
      acknowledged: this.#acknowledged,
      waitingMs: this.#flight === undefined ? null : Math.round(this.waitingMs),
      refused: this.#refused,
    };
  }

  #wants(id: string): boolean {
    if (this.#own?.ids.has(id) === true) return true;
    for (const scope of this.#subscribed.values()) if (scope.ids.has(id)) return true;
    return false;
  }

  #land(nonce: number): Flight | undefined {
    const flight = this.#flight;
    if (flight?.nonce !== nonce) return undefined;
    this.#flight = undefined;
    return flight;
  }

  #outcome({ nonce, version, sentAtMs }: Flight): Outcome {
    return { nonce, version, tookMs: this.#options.now() - sentAtMs };
  }
}

/** What an update says, to know the very same again. */
function contentOf(documents: ReadonlyMap<string, string | undefined>, answered: readonly string[]): string {
  return JSON.stringify([[...documents].toSorted(([a], [b]) => (a < b ? -1 : 1)), answered]);
}

/** One update in messages: as many documents in each as it takes well, and whatever is left of the rest. */
function partsOf(update: PackedUpdate): readonly PackedUpdate[] {
  const parts: PackedUpdate[] = [];
  const { nonce, version } = update;
  let set = new Map<string, PackedDocument>();
  let bytes = 0;
  const cut = (): void => {
    if (set.size === 0) return;
    parts.push({ nonce, version, set, removed: [], answered: [], more: true });
    set = new Map();
    bytes = 0;
  };
  for (const [id, document] of update.set) {
    const { length } = document.packed.bytes;
    if (bytes + length > FRAME_LIMITS.fillBytes) cut();
    set.set(id, document);
    bytes += length;
  }
  const removed = update.removed.slice();
  while (removed.length > REMOVED_PER_MESSAGE) {
    const some = removed.splice(0, REMOVED_PER_MESSAGE);
    parts.push({ nonce, version, set: new Map(), removed: some, answered: [], more: true });
  }
  parts.push({ ...update, set, removed });
  return parts;
}

/** Ids that fit into a message whatever their length. */
const REMOVED_PER_MESSAGE = 1_000;
