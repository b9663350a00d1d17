// Machine. Mesh resources from a watched folder: whole states, swapped at once, the last good one kept.
import { watch, type FSWatcher } from "node:fs";
import type { Clock, Timer } from "../net/clock.ts";
import { buildSnapshot } from "./build.ts";
import { duplicates } from "./cross-check.ts";
import { readFolder, scanFolder, type FolderScan, type ReadFile } from "./folder.ts";
import type { LastGoodStore } from "./last-good.ts";
import { NameResolver, type Lookup } from "./name-resolver.ts";
import { placesOf } from "./resources/service-entry.ts";
import type { ParsedResources } from "./resources/resource.ts";
import type { Routing } from "./routing/routing.ts";
import type { ConfigSource, Problem, Snapshot } from "./snapshot.ts";

/** What a resource folder reports; each is sent once per change. */
export type ResourceFolderEvent =
  /** A snapshot is in use from now on, the first one included; its `problems` are the resources that fail closed. */
  | { readonly kind: "swapped"; readonly snapshot: Snapshot }
  /** The folder now holds errors: the last good snapshot stays in use. */
  | { readonly kind: "kept"; readonly problems: readonly Problem[] }
  /** The folder cannot be used, and what was saved last is in use instead; it was saved at `savedAt`, ms since the epoch. */
  | { readonly kind: "restored"; readonly savedAt: number; readonly problems: readonly Problem[] }
  /** What is in use could not be saved for the next start. */
  | { readonly kind: "not-saved"; readonly text: string }
  /** A DNS name of a WorkloadEntry or ServiceEntry cannot be resolved; its last good addresses stay. */
  | { readonly kind: "name-unresolved"; readonly host: string; readonly text: string };

/** A watched folder of resources. */
export interface ResourceFolder extends ConfigSource {
  /** When the folder was last seen to hold what is in use, milliseconds since the epoch. */
  readonly asOf: number;
  /** Whether what is in use was read from the last good snapshot, and the folder has not been usable since. */
  readonly isRestored: boolean;
  /** Reads the folder again now (SIGHUP); resolves when the outcome is in use or reported. */
  reload(): Promise<void>;
}

/** What `openResourceFolder` needs. */
export interface ResourceFolderOptions {
  readonly folder: string;
  readonly clock: Clock;
  /** Must not throw. */
  readonly onEvent: (event: ResourceFolderEvent) => void;
  /** The system's resolver when not given. */
  readonly lookup?: Lookup;
  /** Reads routes; without it they are passed over. */
  readonly routing?: Routing | undefined;
  /** Path of the last good snapshot: written after each change, and used when the folder cannot be used at the start. */
  readonly lastGood?: string | undefined;
}

/** An editor or a copy makes several events; this long after the first of them the folder is read. */
const DEBOUNCE_MS = 100;
/** What no event tells of (network file systems, a folder that is replaced) is seen after this. */
const POLL_MS = 5_000;

/**
 * Opens a folder of `.yaml`, `.yml` and `.json` resources, one level of sub-folders included, and watches it.
 *
 * @returns the source with its first snapshot, or the problems of which at least one is an error
 */
export async function openResourceFolder(options: ResourceFolderOptions): Promise<ResourceFolder | readonly Problem[]> {
  const { lastGood, clock, onEvent, routing } = options;
  const store =
    lastGood === undefined
      ? undefined
      : new (await import("./last-good.ts")).LastGoodStore(
          lastGood,
          clock,
          (text) => onEvent({ kind: "not-saved", text }),
          routing?.kinds,
        );
  const source = new WatchedFolder(options, store);
  const problems = await source.open();
  if (problems === undefined) return source;
  source.close();
  return problems;
}

class WatchedFolder implements ResourceFolder {
  readonly #folder: string;
  readonly #routing: Routing | undefined;
  readonly #clock: Clock;
  readonly #onEvent: (event: ResourceFolderEvent) => void;
  readonly #names: NameResolver;
  readonly #listeners = new Set<(snapshot: Snapshot) => void>();
  readonly #watchers = new Map<string, { readonly inode: number; readonly watcher: FSWatcher }>();
  #snapshot: Snapshot | undefined;
  #parsed: ParsedResources = { resources: [], problems: [] };
  #files: ReadonlyMap<string, ReadFile> = new Map();
  #signature = "";
  /** The problems that were last reported, as text. */
  #reported = "";
  #debounce: Timer | undefined;
  #poll: Timer | undefined;
  /** The read that runs, and the one that waits for it. */
  #running: Promise<unknown> = Promise.resolve();
  #waiting: Promise<void> | undefined;
  #isClosed = false;
  readonly #store: LastGoodStore | undefined;
  #asOf = 0;
  #isRestored = false;

  constructor(options: ResourceFolderOptions, store: LastGoodStore | undefined) {
    this.#store = store;
    this.#folder = options.folder;
    this.#routing = options.routing;
    this.#clock = options.clock;
    this.#onEvent = options.onEvent;
    this.#names = new NameResolver({
      clock: options.clock,
      ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
      onChange: () => this.#swap(),
      onUnresolved: (host, text) => this.#onEvent({ kind: "name-unresolved", host, text }),
    });
  }

  /** Reads the first state; the problems when it cannot be used. */
  async open(): Promise<readonly Problem[] | undefined> {
    const reading = this.#read().then((found) => (found === undefined ? undefined : this.#restore(found)));
    // Events come as soon as the folder is watched, which is before this read ends: what they ask for has to wait for it.
    this.#running = reading;
    const problems = await reading;
    if (problems !== undefined) return problems;
    this.#poll = this.#clock.every(POLL_MS, () => void this.#look());
    return undefined;
  }

  get asOf(): number {
    return this.#asOf;
  }

  get isRestored(): boolean {
    return this.#isRestored;
  }

  get(): Snapshot {
    if (this.#snapshot === undefined) throw new Error("the folder has not been opened");
    return this.#snapshot;
  }

  onChange(listener: (snapshot: Snapshot) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  reload(): Promise<void> {
    // A read that has begun may have passed by what has just changed; one that still waits has not.
    this.#waiting ??= this.#reloadNext();
    return this.#waiting;
  }

  close(): void {
    this.#isClosed = true;
    this.#debounce?.cancel();
    this.#poll?.cancel();
    this.#store?.close();
    this.#names.close();
    for (const { watcher } of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    this.#listeners.clear();
  }

  /** Takes the last good snapshot into use in place of a folder with problems; these, and why not, when that cannot be. */
  async #restore(problems: readonly Problem[]): Promise<readonly Problem[] | undefined> {
    const restored = await this.#store?.restore();
    if (restored === undefined) return problems;
    if (typeof restored === "string") {
      return [
        ...problems,
        { file: "last good snapshot", line: 0, resource: "", path: "", text: restored, severity: "error" },
      ];
    }
    await this.#resolveNames(restored.parsed);
    if (this.#isClosed) return problems;
    this.#asOf = restored.savedAt;
    this.#isRestored = true;
    // Even the very state that was saved is news when the folder has it again.
    this.#reported = JSON.stringify(problems);
    this.#use(restored.parsed);
    this.#onEvent({ kind: "restored", savedAt: restored.savedAt, problems });
    return undefined;
  }

  async #reloadNext(): Promise<void> {
    await this.#running;
    this.#waiting = undefined;
    this.#running = this.#reloadNow();
    await this.#running;
  }

  async #reloadNow(): Promise<void> {
    if (this.#isClosed) return;
    const problems = await this.#read();
    if (problems === undefined || this.#isClosed) return;
    const text = JSON.stringify(problems);
    if (text === this.#reported) return;
    this.#reported = text;
    this.#onEvent({ kind: "kept", problems });
  }

  /** Reads the folder and swaps to it; the problems when it cannot be used. Never rejects. */
  async #read(): Promise<readonly Problem[] | undefined> {
    const state = await readFolder(this.#folder, this.#files, {
      pack: this.#store?.pack,
      kinds: this.#routing?.kinds,
    });
    if (this.#isClosed) return undefined;
    if (!("files" in state)) {
      // Whatever comes next is a change, even the very state that is in use.
      this.#signature = "";
      return state;
    }
    this.#signature = state.scan.signature;
    // What changed between the listing and the first watch was seen by neither.
    if (this.#watch(state.scan)) void this.#look();
    const isSame = this.#snapshot !== undefined && this.#reported === "" && sameBytes(state.files, this.#files);
    this.#files = state.files;
    if (isSame) {
      this.#asOf = this.#clock.now();
      return undefined;
    }
    const problems = [...state.parsed.problems, ...duplicates(state.parsed.resources)];
    if (problems.some(({ severity }) => severity === "error")) return problems;
    await this.#resolveNames(state.parsed);
    if (this.#isClosed) return undefined;
    this.#asOf = this.#clock.now();
    this.#isRestored = false;
    this.#reported = "";
    this.#use(state.parsed);
    this.#store?.save([...state.files.values()].flatMap(({ packed }) => (packed === undefined ? [] : [packed])));
    return undefined;
  }

  /** Until the swap the state in use needs its names too: a change of one of them builds it again. */
  async #resolveNames(next: ParsedResources): Promise<void> {
    this.#names.watch(hostsOf(next).union(hostsOf(this.#parsed)));
    await this.#names.settled();
  }

  #use(parsed: ParsedResources): void {
    this.#names.watch(hostsOf(parsed));
    this.#parsed = parsed;
    this.#swap();
  }

  #swap(): void {
    if (this.#isClosed) return;
    const version = (this.#snapshot?.version ?? 0) + 1;
    const snapshot = buildSnapshot(version, this.#parsed, (host) => this.#names.addresses(host), this.#routing);
    this.#snapshot = snapshot;
    this.#onEvent({ kind: "swapped", snapshot });
    for (const listener of this.#listeners) listener(snapshot);
  }

  /** The slow look for what no event has told. */
  async #look(): Promise<void> {
    const scan = await scanFolder(this.#folder);
    const signature = typeof scan === "string" ? scan : scan.signature;
    if (this.#isClosed) return;
    if (signature !== this.#signature) await this.reload();
    else if (this.#reported === "") this.#asOf = this.#clock.now();
  }

  /** Watches the folders of a listing, and no others; answers whether one is new. */
  #watch({ folders }: FolderScan): boolean {
    let isNew = false;
    for (const [path, { inode, watcher }] of this.#watchers) {
      if (folders.get(path) === inode) continue;
      watcher.close();
      this.#watchers.delete(path);
    }
    for (const [path, inode] of folders) {
      if (this.#watchers.has(path)) continue;
      try {
        const watcher = watch(path, { persistent: false }, () => this.#soon());
        watcher.on("error", () => {
          watcher.close();
          this.#watchers.delete(path);
        });
        this.#watchers.set(path, { inode, watcher });
        isNew = true;
      } catch {
        // Out of inotify watches, or just gone: the slow look remains.
      }
    }
    return isNew;
  }

  #soon(): void {
    if (this.#isClosed) return;
    this.#debounce ??= this.#clock.after(DEBOUNCE_MS, () => {
      this.#debounce = undefined;
      void this.reload();
    });
  }
}

function sameBytes(a: ReadonlyMap<string, ReadFile>, b: ReadonlyMap<string, ReadFile>): boolean {
  if (a.size !== b.size) return false;
  for (const [path, { digest }] of a) if (b.get(path)?.digest !== digest) return false;
  return true;
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
