// Machine. Mesh resources from a watched folder: whole states, swapped at once, the last good one kept.
import { watch, type FSWatcher } from "node:fs";
import type { Clock, Timer } from "../net/clock.ts";
import { buildSnapshot } from "./build.ts";
import { duplicates } from "./cross-check.ts";
import { readFolder, scanFolder, type FolderScan, type ReadFile } from "./folder.ts";
import { NameResolver, type Lookup } from "./name-resolver.ts";
import { placesOf } from "./resources/service-entry.ts";
import type { ParsedResources } from "./resources/resource.ts";
import type { ConfigSource, Problem, Snapshot } from "./snapshot.ts";

/** What a resource folder reports; each is sent once per change. */
export type ResourceFolderEvent =
  /** A snapshot is in use from now on, the first one included; its `problems` are the resources that fail closed. */
  | { readonly kind: "swapped"; readonly snapshot: Snapshot }
  /** The folder now holds errors: the last good snapshot stays in use. */
  | { readonly kind: "kept"; readonly problems: readonly Problem[] }
  /** A DNS name of a WorkloadEntry or ServiceEntry cannot be resolved; its last good addresses stay. */
  | { readonly kind: "name-unresolved"; readonly host: string; readonly text: string };

/** A watched folder of resources. */
export interface ResourceFolder extends ConfigSource {
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
  const source = new WatchedFolder(options);
  const problems = await source.open();
  if (problems === undefined) return source;
  source.close();
  return problems;
}

class WatchedFolder implements ResourceFolder {
  readonly #folder: string;
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

  constructor(options: ResourceFolderOptions) {
    this.#folder = options.folder;
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
    const reading = this.#read();
    // Events come as soon as the folder is watched, which is before this read ends: what they ask for has to wait for it.
    this.#running = reading;
    const problems = await reading;
    if (problems !== undefined) return problems;
    this.#poll = this.#clock.every(POLL_MS, () => void this.#look());
    return undefined;
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
    this.#names.close();
    for (const { watcher } of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
    this.#listeners.clear();
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
    const state = await readFolder(this.#folder, this.#files);
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
    if (isSame) return undefined;
    const problems = [...state.parsed.problems, ...duplicates(state.parsed.resources)];
    if (problems.some(({ severity }) => severity === "error")) return problems;
    const hosts = hostsOf(state.parsed);
    // Until the swap the state in use needs its names too: a change of one of them builds it again.
    this.#names.watch(hosts.union(hostsOf(this.#parsed)));
    await this.#names.settled();
    if (this.#isClosed) return undefined;
    this.#names.watch(hosts);
    this.#parsed = state.parsed;
    this.#reported = "";
    this.#swap();
    return undefined;
  }

  #swap(): void {
    if (this.#isClosed) return;
    const version = (this.#snapshot?.version ?? 0) + 1;
    const snapshot = buildSnapshot(version, this.#parsed, (host) => this.#names.addresses(host));
    this.#snapshot = snapshot;
    this.#onEvent({ kind: "swapped", snapshot });
    for (const listener of this.#listeners) listener(snapshot);
  }

  /** The slow look for what no event has told. */
  async #look(): Promise<void> {
    const scan = await scanFolder(this.#folder);
    const signature = typeof scan === "string" ? scan : scan.signature;
    if (!this.#isClosed && signature !== this.#signature) await this.reload();
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
