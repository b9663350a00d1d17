// Machine. Bytes that came before they could be used: half a head, a pipelined request, a body whose upstream is not open
// yet. Bounded, and with the memory of how far a half head has been looked at.
const LF = 0x0a;

/** The bytes of one connection that wait. `bytes` from `start` to `end` are what is there. */
export class Stash {
  bytes: Buffer = EMPTY;
  start = 0;
  end = 0;
  /** Where to go on scanning the half head at `start`: offset of its first unfinished line, and the lines before it. */
  lineStart = 0;
  lineCount = 0;
  /** How many bytes of the half head have been scanned. */
  #scanned = 0;
  readonly #bound: number;

  constructor(bound: number) {
    this.#bound = bound;
  }

  get length(): number {
    return this.end - this.start;
  }

  /** Appends a copy. `false`: over the bound, nothing was taken. */
  append(chunk: Buffer, start: number, end: number): boolean {
    const added = end - start;
    const length = this.length;
    if (length + added > this.#bound) return false;
    if (this.end + added > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(1024, 2 * (length + added)));
      this.bytes.copy(larger, 0, this.start, this.end);
      this.bytes = larger;
      this.start = 0;
      this.end = length;
    }
    chunk.copy(this.bytes, this.end, start, end);
    this.end += added;
    return true;
  }

  /** Everything before `position` has been used. */
  consume(position: number): void {
    this.start = position;
    if (position === this.end) this.clear();
  }

  clear(): void {
    this.bytes = EMPTY;
    this.start = 0;
    this.end = 0;
    this.forgetScan();
  }

  /** The half head at `start` has been scanned, all `scanned` bytes of it, and its first unfinished line lies there. */
  noteScan(lineStart: number, lineCount: number, scanned: number): void {
    this.lineStart = lineStart;
    this.lineCount = lineCount;
    this.#scanned = scanned;
  }

  /** What follows is another head. */
  forgetScan(): void {
    this.lineStart = 0;
    this.lineCount = 0;
    this.#scanned = 0;
  }

  /**
   * Whether scanning again can be worth it: a line has ended, or the unfinished line has doubled. So a sender of single
   * bytes cannot make the scanner look at each byte more than a few times.
   */
  get worthScanning(): boolean {
    const line = this.#scanned - this.lineStart;
    if (this.length - this.lineStart >= 2 * line) return true;
    return this.bytes.subarray(this.start + this.#scanned, this.end).includes(LF);
  }
}

const EMPTY = Buffer.alloc(0);
