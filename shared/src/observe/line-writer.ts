// Machine. Lines on their way to stdout: gathered, written one batch at a time, never waited for. When the reader of
// stdout is slow or gone, lines are dropped and counted; the data path does not notice.
import type { Clock, Timer } from "../net/clock.ts";

/** Writes text somewhere without blocking and calls `done` exactly once, later, with the error if there was one. */
export type WriteText = (text: string, done: (error: Error | undefined) => void) => void;

/** A batch goes out when it has this many characters … */
const BATCH_CHARACTERS = 64 * 1024;
/** … or when its first line has waited this long. */
const BATCH_MS = 100;
/** Characters that may wait behind the batch being written; two seconds of 5,000 lines of 100 bytes. */
const MAX_WAITING_CHARACTERS = 1024 * 1024;

/** Where `Log` and `AccessLog` put their lines; one per process, so that lines keep their order. */
export class LineWriter {
  readonly #write: WriteText;
  readonly #clock: Clock;
  readonly #maxWaiting: number;
  #waiting = "";
  #waitingLines = 0;
  #writing = false;
  #timer: Timer | undefined;
  #dropped = 0;
  #flushed: (() => void)[] = [];

  constructor(write: WriteText, clock: Clock, maxWaiting: number = MAX_WAITING_CHARACTERS) {
    this.#write = write;
    this.#clock = clock;
    this.#maxWaiting = maxWaiting;
  }

  /** Lines lost since the start: no room, or the write failed. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Takes one line, without its newline. Never blocks, never throws, never waits. */
  readonly line = (text: string): void => {
    if (this.#waiting.length + text.length >= this.#maxWaiting) {
      this.#dropped += 1;
      return;
    }
    this.#waiting += `${text}\n`;
    this.#waitingLines += 1;
    if (this.#writing) return;
    if (this.#waiting.length >= BATCH_CHARACTERS) this.#writeBatch();
    else this.#timer ??= this.#clock.after(BATCH_MS, () => this.#writeBatch());
  };

  /** Resolves when everything taken so far has been written, or after `timeoutMs`; for the end of the process. */
  flush(timeoutMs: number): Promise<void> {
    if (!this.#writing && this.#waiting === "") return Promise.resolve();
    if (!this.#writing) this.#writeBatch();
    return new Promise((resolve) => {
      const timer = this.#clock.after(timeoutMs, resolve);
      this.#flushed.push(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  #writeBatch(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const text = this.#waiting;
    const lines = this.#waitingLines;
    this.#waiting = "";
    this.#waitingLines = 0;
    this.#writing = true;
    this.#write(text, (error) => {
      this.#writing = false;
      if (error !== undefined) this.#dropped += lines;
      if (this.#waiting !== "") return this.#writeBatch();
      const flushed = this.#flushed;
      this.#flushed = [];
      for (const resolve of flushed) resolve();
    });
  }
}
