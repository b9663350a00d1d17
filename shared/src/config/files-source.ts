// Machine. Mesh resources from a watched folder: whole states, swapped at once, the last good one kept.
import { watch, type FSWatcher } from "node:fs";
import type { Clock, Timer } from "../net/clock.ts";
import { duplicates } from "./cross-check.ts";
import { folderProblem, NO_RESOURCE, readFolder, scanFolder, type FolderScan, type ReadFile } from "./folder.ts";
import type { LastGoodStore } from "./last-good.ts";
import type { ResourceEvent, ResourceSource } from "./resource-source.ts";
import { openLastGood, ResourcesInUse, type ResourcesOptions } from "./resources-in-use.ts";
import type { Routing } from "./routing/routing.ts";
import type { Problem, Snapshot } from "./snapshot.ts";

/** What `openResourceFolder` needs. */
export interface ResourceFolderOptions extends ResourcesOptions {
  readonly folder: string;
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
export async function openResourceFolder(options: ResourceFolderOptions): Promise<ResourceSource | readonly Problem[]> {
  const source = new WatchedFolder(options, await openLastGood(options));
  const problems = await source.open();
  if (problems === undefined) return source;
  source.close();
  return problems;
}

class WatchedFolder implements ResourceSource {
  readonly #folder: string;
  readonly #routing: Routing | undefined;
  readonly #clock: Clock;
  readonly #onEvent: (event: ResourceEvent) => void;
  readonly #inUse: ResourcesInUse;
  readonly #watchers = new Map<string, { readonly inode: number; readonly watcher: FSWatcher }>();
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
  /** There were resources once, or they were saved: a mesh that has not begun is told from one that has been lost. */
  #mayNotBeEmpty: boolean;
  readonly #store: LastGoodStore | undefined;

  constructor(options: ResourceFolderOptions, store: LastGoodStore | undefined) {
    this.#store = store;
    this.#mayNotBeEmpty = store !== undefined;
    this.#folder = options.folder;
    this.#routing = options.routing;
    this.#clock = options.clock;
    this.#onEvent = options.onEvent;
    this.#inUse = new ResourcesInUse(options);
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
    return this.#inUse.asOf;
  }

  get isRestored(): boolean {
    return this.#inUse.isRestored;
  }

  get(): Snapshot {
    return this.#inUse.get();
  }

  onChange(listener: (snapshot: Snapshot) => void): () => void {
    return this.#inUse.onChange(listener);
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
    this.#inUse.close();
    for (const { watcher } of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
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
    // Even the very state that was saved is news when the folder has it again.
    this.#reported = JSON.stringify(problems);
    if (!(await this.#inUse.use(restored.parsed, () => restored.savedAt, true))) return problems;
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
    const isSame = this.#inUse.any && this.#reported === "" && sameBytes(state.files, this.#files);
    this.#files = state.files;
    if (isSame) {
      this.#inUse.asOf = this.#clock.now();
      return undefined;
    }
    const problems = [...state.parsed.problems, ...duplicates(state.parsed.resources)];
    const isEmpty = state.parsed.resources.length + problems.length === 0;
    if (isEmpty && this.#mayNotBeEmpty) problems.push(folderProblem(this.#folder, NO_RESOURCE));
    if (problems.some(({ severity }) => severity === "error")) return problems;
    if (!(await this.#inUse.use(state.parsed, () => this.#clock.now()))) return undefined;
    this.#reported = "";
    this.#mayNotBeEmpty ||= !isEmpty;
    const packed = [...state.files.values()].flatMap((file) => (file.packed === undefined ? [] : [file.packed]));
    this.#store?.save(() => packed);
    return undefined;
  }

  /** The slow look for what no event has told. */
  async #look(): Promise<void> {
    const scan = await scanFolder(this.#folder);
    const signature = typeof scan === "string" ? scan : scan.signature;
    if (this.#isClosed) return;
    if (signature !== this.#signature) await this.reload();
    else if (this.#reported === "") this.#inUse.asOf = this.#clock.now();
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
