// Machine. For the runner: ends test files that have gone silent. The deadline of Node's runner fails a test and leaves its process
// alone, so one that spins, or that keeps a socket open after its last test, would hold up the whole run for ever.
import { readFileSync } from "node:fs";
import process from "node:process";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { childProcesses, processTree } from "./proc.ts";

/** What is read of an event of Node's runner. */
interface RunnerEvent {
  readonly type: string;
  readonly data?: object | undefined;
}

/** How often silence is looked for. */
const LOOK_MS = 1_000;

/** Watches the files of a run; every event of the run goes to `heard`. */
export class SilenceWatch {
  readonly #allowedMs: number;
  readonly #onKill: (file: string, silentMs: number) => void;
  readonly #lastHeardMs = new Map<string, number>();
  readonly #timer = systemClock.every(LOOK_MS, () => this.#look());

  /** `onKill` is told of a file whose process was killed after `allowedMs` without an event. */
  constructor(allowedMs: number, onKill: (file: string, silentMs: number) => void) {
    this.#allowedMs = allowedMs;
    this.#onKill = onKill;
  }

  /** Takes note that a file has begun, or that one which has begun is heard of. */
  heard({ type, data }: RunnerEvent): void {
    if (data === undefined || !("file" in data)) return;
    // A test may be declared in another file than the one that runs it.
    const file = "entryFile" in data ? data.entryFile : data.file;
    if (typeof file !== "string") return;
    const begins = type === "test:dequeue" && "name" in data && data.name === file;
    if (begins || this.#lastHeardMs.has(file)) this.#lastHeardMs.set(file, systemClock.monotonic());
  }

  /** Watches no more. */
  close(): void {
    this.#timer.cancel();
  }

  #look(): void {
    const now = systemClock.monotonic();
    for (const [file, heardMs] of this.#lastHeardMs) {
      if (now - heardMs < this.#allowedMs) continue;
      this.#lastHeardMs.delete(file);
      // A file that has ended is silent, too; nothing of it is there to be killed.
      // Only what the runner itself has started: a test may run the same file for its own ends.
      const running = childProcesses(process.pid).find((pid) => runs(pid, file));
      if (running === undefined) continue;
      this.#onKill(file, now - heardMs);
      for (const pid of processTree(running).toReversed()) kill(pid);
    }
  }
}

/** Whether the process was started with that file as its last argument. */
function runs(pid: number, file: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").at(-2) === file;
  } catch {
    return false;
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended meanwhile.
  }
}
