// Machine. The mesh of a watched folder: read again soon after each change, one read after another; the last good state stays.
import { formatProblem } from "@culvert/shared/config/problem-text.ts";
import type { Problem } from "@culvert/shared/config/snapshot.ts";
import { FolderWatch } from "@culvert/shared/identity/watch-folders.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { Mesh } from "./mesh.ts";
import type { MeshChange } from "./mesh.ts";
import { readMesh } from "./mesh-files.ts";

export interface WatchedMeshOptions {
  readonly folder: string;
  readonly clock: Clock;
  /** A state is in use, the first one included. Must not throw. */
  readonly onChange: (change: MeshChange) => void;
  /** The folder has errors; what was in use stays. Told once for each set of them. */
  readonly onKept: (problems: readonly Problem[]) => void;
  /** Resources that are in use and fail closed, for they cannot be understood. Told once for each set of them that is not empty. */
  readonly onNotUnderstood: (problems: readonly Problem[]) => void;
}

/** See the head of the file. */
export class WatchedMesh {
  readonly mesh = new Mesh();
  readonly #options: WatchedMeshOptions;
  readonly #watch: FolderWatch;
  #isUsable = false;
  #signature = "";
  #reported = "";
  #notUnderstood = "";
  #running: Promise<void> = Promise.resolve();
  #isWaiting = false;
  #isClosed = false;

  constructor(options: WatchedMeshOptions) {
    this.#options = options;
    this.#watch = new FolderWatch({
      clock: options.clock,
      onChange: () => void this.reload(),
      // The slow look remains.
      onUnwatched: () => undefined,
    });
  }

  /** Whether there has been a good state. */
  get isUsable(): boolean {
    return this.#isUsable;
  }

  /** Looks again; settles when the outcome is in use or told. */
  reload(): Promise<void> {
    // A read that has begun may have passed by what has just changed; one that waits has not.
    if (!this.#isWaiting) {
      this.#isWaiting = true;
      this.#running = this.#running.then(() => {
        this.#isWaiting = false;
        return this.#read();
      });
    }
    return this.#running;
  }

  close(): void {
    this.#isClosed = true;
    this.#watch.close();
  }

  async #read(): Promise<void> {
    if (this.#isClosed) return;
    const { folder, clock, onChange } = this.#options;
    const state = await readMesh(folder, this.mesh.files, () => clock.now());
    if (this.#isClosed) return;
    if (!("files" in state)) {
      this.#signature = "";
      this.#watch.watch(new Set([folder]));
      return this.#tell(state);
    }
    const { scan, files } = state;
    const folders = [...scan.folders].join();
    if (folders !== this.#signature) {
      this.#signature = folders;
      this.#watch.watch(new Set(scan.folders.keys()));
      // What changed between the listing and the watch was seen by neither.
      this.#watch.settle();
    }
    const change = this.mesh.use(files);
    if (!("ids" in change)) return this.#tell(change);
    const isNews = !this.#isUsable || change.ids.size > 0 || this.#reported !== "";
    this.#isUsable = true;
    this.#reported = "";
    if (isNews) onChange(change);
    // Also without news: a resource of a kind that nobody knows is no document that would change.
    this.#tellNotUnderstood([...files.values()].flatMap(({ problems }) => problems));
  }

  #tellNotUnderstood(problems: readonly Problem[]): void {
    const text = problems.map(formatProblem).join("\n");
    if (text === this.#notUnderstood) return;
    this.#notUnderstood = text;
    if (problems.length > 0) this.#options.onNotUnderstood(problems);
  }

  #tell(problems: readonly Problem[]): void {
    const text = problems.map(formatProblem).join("\n");
    if (text === this.#reported) return;
    this.#reported = text;
    this.#options.onKept(problems);
  }
}
