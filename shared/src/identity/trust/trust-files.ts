// Machine. The files that say whom we trust: read at the start, watched, and each taken only when it is good.
import { hash } from "node:crypto";
import { dirname } from "node:path";
import { isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import type { Clock } from "../../net/clock.ts";
import { readPublicBytes } from "../read-file.ts";
import { FolderWatch } from "../watch-folders.ts";

/** One file, and what becomes of it. */
export interface TrustFile {
  readonly path: string;
  readonly maxBytes: number;
  /** Takes the file into use; a failure when it is not fit, and then nothing has changed. */
  readonly take: (bytes: Buffer) => Failure | undefined;
}

/** What `TrustFiles` needs, and whom it tells. */
export interface TrustFilesOptions {
  readonly files: readonly TrustFile[];
  readonly clock: Clock;
  /** Files were taken into use after the start. */
  readonly onTaken: () => void;
  readonly onKept: (failure: Failure) => void;
  readonly onUnwatched: (folder: string, reason: string) => void;
}

/** See the head of the file. */
export class TrustFiles {
  readonly #options: TrustFilesOptions;
  readonly #folders: FolderWatch;
  /** What each file held when it was last looked at, good or not: a second look at the same is silent. */
  readonly #seen = new Map<TrustFile, string>();
  #looking: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(options: TrustFilesOptions) {
    this.#options = options;
    this.#folders = new FolderWatch({
      clock: options.clock,
      onChange: () => void this.reload(),
      onUnwatched: options.onUnwatched,
    });
  }

  /** Reads all files for the first time; the first that is missing or unfit is the failure. */
  async open(): Promise<Failure | undefined> {
    this.#watch();
    for (const file of this.#options.files) {
      const outcome = await this.#look(file);
      if (isFailure(outcome)) return outcome;
    }
    return undefined;
  }

  /** Looks now. Resolves when what has changed is in use or reported. */
  reload(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#lookAtAll());
    return this.#looking;
  }

  close(): void {
    this.#closed = true;
    this.#folders.close();
  }

  async #lookAtAll(): Promise<void> {
    let taken = false;
    for (const file of this.#options.files) {
      const outcome = await this.#look(file);
      if (this.#closed) return;
      if (isFailure(outcome)) this.#options.onKept(outcome);
      else if (outcome === "taken") taken = true;
    }
    if (!taken) return;
    this.#watch();
    // What changed between the reading and the new watch is seen by one more look.
    this.#folders.settle();
    this.#options.onTaken();
  }

  async #look(file: TrustFile): Promise<"taken" | "same" | Failure> {
    const bytes = await readPublicBytes(file.path, file.maxBytes);
    if (this.#closed) return "same";
    const seen = isFailure(bytes) ? `${bytes.code} ${bytes.detail}` : hash("sha256", bytes);
    if (this.#seen.get(file) === seen) return "same";
    this.#seen.set(file, seen);
    return isFailure(bytes) ? bytes : (file.take(bytes) ?? "taken");
  }

  #watch(): void {
    this.#folders.watch(new Set(this.#options.files.map(({ path }) => dirname(path))));
  }
}
