// Machine. The resources in use, wherever they come from: their DNS names resolved, joined into a snapshot that is swapped whole,
// listeners told, and kept for the next start.
import type { Clock } from "../net/clock.ts";
import { buildSnapshot } from "./build.ts";
import type { LastGoodStore } from "./last-good.ts";
import { NameResolver, type Lookup } from "./name-resolver.ts";
import type { ResourceEvent } from "./resource-source.ts";
import type { ParsedResources } from "./resources/resource.ts";
import { placesOf } from "./resources/service-entry.ts";
import type { Routing } from "./routing/routing.ts";
import type { Snapshot } from "./snapshot.ts";

/** What every source of resources needs. */
export interface ResourcesOptions {
  readonly clock: Clock;
  /** Must not throw. */
  readonly onEvent: (event: ResourceEvent) => void;
  /** The system's resolver when not given. */
  readonly lookup?: Lookup;
  /** Reads routes; without it they are passed over. */
  readonly routing?: Routing | undefined;
  /** What of the resources is held, where that is not all of them. */
  readonly narrow?: ((parsed: ParsedResources) => ParsedResources) | undefined;
  /** Path of the last good snapshot: written after each change, and used when the source cannot be used at the start. */
  readonly lastGood?: string | undefined;
}

/** The store that is configured; what writes it is loaded only then. */
export async function openLastGood(options: ResourcesOptions): Promise<LastGoodStore | undefined> {
  const { lastGood, clock, onEvent, routing } = options;
  if (lastGood === undefined) return undefined;
  const { LastGoodStore } = await import("./last-good.ts");
  return new LastGoodStore(lastGood, clock, (text) => onEvent({ kind: "not-saved", text }), routing?.kinds);
}

/** See the head of the file. */
export class ResourcesInUse {
  /** When the source was last seen to hold what is in use, milliseconds since the epoch. */
  asOf = 0;
  readonly #routing: Routing | undefined;
  readonly #narrow: ((parsed: ParsedResources) => ParsedResources) | undefined;
  readonly #onEvent: (event: ResourceEvent) => void;
  readonly #names: NameResolver;
  readonly #listeners = new Set<(snapshot: Snapshot) => void>();
  #snapshot: Snapshot | undefined;
  #parsed: ParsedResources = { resources: [], problems: [] };
  #isRestored = false;
  #isClosed = false;

  constructor({ clock, onEvent, lookup, routing, narrow }: ResourcesOptions) {
    this.#routing = routing;
    this.#narrow = narrow;
    this.#onEvent = onEvent;
    this.#names = new NameResolver({
      clock,
      ...(lookup === undefined ? {} : { lookup }),
      onChange: () => this.#swap(),
      onUnresolved: (host, text) => onEvent({ kind: "name-unresolved", host, text }),
    });
  }

  /** Whether there is a snapshot. */
  get any(): boolean {
    return this.#snapshot !== undefined;
  }

  get isRestored(): boolean {
    return this.#isRestored;
  }

  get(): Snapshot {
    if (this.#snapshot === undefined) throw new Error("there are no resources yet");
    return this.#snapshot;
  }

  onChange(listener: (snapshot: Snapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Takes resources without errors into use once their names are resolved, at the latest after two seconds; `asOf` is when they
   * were seen. Answers whether it did: not after `close`.
   */
  async use(all: ParsedResources, asOf: () => number, isRestored = false): Promise<boolean> {
    const parsed = this.#narrow?.(all) ?? all;
    // Until the swap the state in use needs its names too: a change of one of them builds it again.
    this.#names.watch(hostsOf(parsed).union(hostsOf(this.#parsed)));
    await this.#names.settled();
    if (this.#isClosed) return false;
    this.asOf = asOf();
    this.#isRestored = isRestored;
    this.#names.watch(hostsOf(parsed));
    this.#parsed = parsed;
    this.#swap();
    return true;
  }

  close(): void {
    this.#isClosed = true;
    this.#names.close();
    this.#listeners.clear();
  }

  #swap(): void {
    if (this.#isClosed) return;
    const version = (this.#snapshot?.version ?? 0) + 1;
    const snapshot = buildSnapshot(version, this.#parsed, (host) => this.#names.addresses(host), this.#routing);
    this.#snapshot = snapshot;
    this.#onEvent({ kind: "swapped", snapshot });
    for (const listener of this.#listeners) listener(snapshot);
  }
}

function hostsOf({ resources }: ParsedResources): Set<string> {
  const hosts = new Set<string>();
  for (const resource of resources) {
    if (resource.kind === "WorkloadEntry" && resource.address.kind === "name") hosts.add(resource.address.host);
    if (resource.kind !== "ServiceEntry" || resource.resolution !== "dns" || resource.selector !== undefined) continue;
    for (const { address } of resource.hosts.flatMap((host) => placesOf(resource, host))) {
      if (address.kind === "name") hosts.add(address.host);
    }
  }
  return hosts;
}
