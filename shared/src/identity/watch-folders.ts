// Machine. Tells when something in a set of folders may have changed. Folders are watched, not files: Kubernetes replaces the
// link that all names lead through, helpers rename.
import { watch } from "node:fs";
import type { FSWatcher } from "node:fs";
import type { Clock, Timer } from "../net/clock.ts";

/** Whom `FolderWatch` tells, and by which clock. */
export interface FolderWatchOptions {
  readonly clock: Clock;
  /** Something may have changed: soon after the system says so, and now and then without. */
  readonly onChange: () => void;
  /** The system cannot report changes in this folder: they are seen by the slow poll only. */
  readonly onUnwatched: (folder: string, reason: string) => void;
}

/** A writer moves several files into place in a moment: one look after it, not one for each. */
const SETTLE_MS = 100;
/** For what the system does not report: a folder behind a link, a network file system, a watch that was never there. */
const POLL_MS = 30_000;

/** See the head of the file. */
export class FolderWatch {
  readonly #options: FolderWatchOptions;
  readonly #poll: Timer;
  #watchers = new Map<string, FSWatcher>();
  #settling: Timer | undefined;
  #closed = false;

  constructor(options: FolderWatchOptions) {
    this.#options = options;
    this.#poll = options.clock.every(POLL_MS, options.onChange);
  }

  /** Watches these folders and no others. To be called after each change, for a folder may itself have been replaced. */
  watch(folders: ReadonlySet<string>): void {
    const old = this.#watchers;
    this.#watchers = new Map();
    for (const folder of folders) {
      try {
        const watcher = watch(folder, { persistent: false }, () => this.settle());
        watcher.on("error", (error) => this.#tellUnwatched(folder, error));
        this.#watchers.set(folder, watcher);
      } catch (error) {
        this.#tellUnwatched(folder, error);
      }
    }
    for (const watcher of old.values()) watcher.close();
  }

  /** Asks for one more look in a moment. */
  settle(): void {
    if (this.#closed) return;
    this.#settling ??= this.#options.clock.after(SETTLE_MS, () => {
      this.#settling = undefined;
      this.#options.onChange();
    });
  }

  close(): void {
    this.#closed = true;
    this.#poll.cancel();
    this.#settling?.cancel();
    for (const watcher of this.#watchers.values()) watcher.close();
    this.#watchers.clear();
  }

  #tellUnwatched(folder: string, error: unknown): void {
    this.#watchers.get(folder)?.close();
    this.#watchers.delete(folder);
    this.#options.onUnwatched(folder, error instanceof Error ? error.message : "unknown");
  }
}
