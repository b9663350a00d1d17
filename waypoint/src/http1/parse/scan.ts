// Pure. The strict byte-loop scanner of HTTP/1.1 heads (RFC 9112 sections 2 to 5): looks at each byte once, makes no string
// and no object, and leaves offsets in one table that is used again for the next head.
import { COLON, CR, HTAB, LF, METHOD, SP, TARGET, TOKEN, VALUE, at } from "./bytes.ts";
import { knownField } from "./field-names.ts";

/** The head is whole and well-formed; the offsets are valid. */
export const COMPLETE = 0;
/** All bytes so far are well-formed; more must come. */
export const INCOMPLETE = 1;
/** No byte that may still come can make it a well-formed head within the bounds; `problem` says why. */
export const BAD = 2;

type ScanStatus = typeof COMPLETE | typeof INCOMPLETE | typeof BAD;

/** Bounds of one kind of head. */
interface ScanBounds {
  readonly headBytes: number;
  readonly fieldLines: number;
  readonly nameBytes: number;
  readonly valueBytes: number;
}

/** Integers for each field line in `HeadScanner.fields`. */
export const STRIDE = 5;
/** First byte of the name, which is the first byte of the line. */
const NAME_START = 0;
export const NAME_END = 1;
/** Value without the whitespace around it. */
export const VALUE_START = 2;
export const VALUE_END = 3;
/** Which of the known names it is, see `field-names.ts`. */
export const NAME_ID = 4;

const HTTP_SLASH_1_DOT = Buffer.from("HTTP/1.", "latin1");

/**
 * Scans heads out of buffers. The offsets are positions in the scanned buffer and valid until the next scan, so one scanner
 * serves all connections of a process as long as each uses its result before it returns to the event loop.
 */
export class HeadScanner {
  readonly fields: Int32Array;
  readonly #bounds: ScanBounds;
  /** Field lines of the last complete head. */
  count = 0;
  /** First byte of the first field line. */
  fieldsStart = 0;
  /** The empty line that ends the head. */
  fieldsEnd = 0;
  /** First byte after the head. */
  headEnd = 0;
  /** Minor version: 0 or 1. */
  minor = 1;
  /** Request line. */
  methodEnd = 0;
  targetStart = 0;
  targetEnd = 0;
  /** Status line. */
  status = 0;
  /** After `INCOMPLETE`: where the first unfinished line begins, and how many field lines lie before it. */
  lineStart = 0;
  lineCount = 0;
  /** After `BAD`: why, for the log; and whether the bytes were only too many. */
  problem = "";
  tooLarge = false;

  constructor(bounds: ScanBounds) {
    this.#bounds = bounds;
    this.fields = new Int32Array((bounds.fieldLines + 1) * STRIDE);
  }

  /**
   * Scans a request head that begins at `start`. After `INCOMPLETE` it may be called with more bytes and the `lineStart` and
   * `lineCount` that were left (relative to the same `start`), to scan each finished line only once more.
   */
  scanRequest(bytes: Uint8Array, start: number, end: number, lineStart: number = start, lineCount = 0): ScanStatus {
    return this.#scan(bytes, start, end, lineStart, lineCount, true);
  }

  /** The same for a response head. */
  scanResponse(bytes: Uint8Array, start: number, end: number, lineStart: number = start, lineCount = 0): ScanStatus {
    return this.#scan(bytes, start, end, lineStart, lineCount, false);
  }

  /** Scans field lines up to and with the empty line: a trailer section (RFC 9112 section 7.1.2). */
  scanTrailers(bytes: Uint8Array, start: number, end: number): ScanStatus {
    this.fieldsStart = start;
    return this.#within(this.#scanFields(bytes, start, this.#stop(start, end), 0), start, end);
  }

  #scan(
    bytes: Uint8Array,
    start: number,
    end: number,
    lineStart: number,
    lineCount: number,
    request: boolean,
  ): ScanStatus {
    const stop = this.#stop(start, end);
    let status: ScanStatus;
    if (lineStart > start) {
      status = this.#scanFields(bytes, lineStart, stop, lineCount);
      // The table was used by other heads in between: fill it again, once.
      if (status === COMPLETE) return this.#scan(bytes, start, end, start, 0, request);
    } else {
      this.lineStart = start;
      this.lineCount = 0;
      status = request ? this.#scanRequestLine(bytes, start, stop) : this.#scanStatusLine(bytes, start, stop);
      if (status === COMPLETE) status = this.#scanFields(bytes, this.fieldsStart, stop, 0);
    }
    return this.#within(status, start, end);
  }

  #stop(start: number, end: number): number {
    return Math.min(end, start + this.#bounds.headBytes);
  }

  #within(status: ScanStatus, start: number, end: number): ScanStatus {
    if (status === INCOMPLETE && end - start >= this.#bounds.headBytes) return this.#large("head over its limit");
    return status;
  }

  #bad(problem: string): ScanStatus {
    this.problem = problem;
    this.tooLarge = false;
    return BAD;
  }

  #large(problem: string): ScanStatus {
    this.problem = problem;
    this.tooLarge = true;
    return BAD;
  }

  #scanRequestLine(bytes: Uint8Array, start: number, stop: number): ScanStatus {
    let i = start;
    while (i < stop && METHOD[at(bytes, i)] === 1) i += 1;
    if (i - start > 32) return this.#bad("method longer than 32 bytes");
    if (i === stop) return INCOMPLETE;
    if (i === start || at(bytes, i) !== SP) return this.#bad("method is not upper-case letters before one space");
    this.methodEnd = i;
    i += 1;
    this.targetStart = i;
    while (i < stop && TARGET[at(bytes, i)] === 1) i += 1;
    if (i === stop) return INCOMPLETE;
    if (i === this.targetStart || at(bytes, i) !== SP) return this.#bad("request line without target and version");
    this.targetEnd = i;
    i += 1;
    const version = this.#scanVersion(bytes, i, stop);
    if (version !== COMPLETE) return version;
    return this.#scanLineEnd(bytes, i + 8, stop);
  }

  #scanStatusLine(bytes: Uint8Array, start: number, stop: number): ScanStatus {
    const version = this.#scanVersion(bytes, start, stop);
    if (version !== COMPLETE) return version;
    let i = start + 8;
    let code = 0;
    for (const digitsEnd = i + 4; i < digitsEnd; i += 1) {
      if (i === stop) return INCOMPLETE;
      const byte = at(bytes, i);
      if (i === start + 8 ? byte !== SP : byte < 0x30 || byte > 0x39) return this.#bad("status is not three digits");
      if (i !== start + 8) code = code * 10 + byte - 0x30;
    }
    if (code < 100) return this.#bad("status below 100");
    this.status = code;
    if (i === stop) return INCOMPLETE;
    // A reason phrase may be empty, and its space is often forgotten; nothing depends on it.
    if (at(bytes, i) !== SP && at(bytes, i) !== CR) return this.#bad("status is not three digits");
    while (i < stop && VALUE[at(bytes, i)] === 1) i += 1;
    return this.#scanLineEnd(bytes, i, stop);
  }

  #scanVersion(bytes: Uint8Array, start: number, stop: number): ScanStatus {
    for (let k = 0; k < 7; k += 1) {
      if (start + k === stop) return INCOMPLETE;
      if (at(bytes, start + k) !== at(HTTP_SLASH_1_DOT, k)) return this.#bad("version is not HTTP/1.1 or HTTP/1.0");
    }
    if (start + 7 === stop) return INCOMPLETE;
    const minor = at(bytes, start + 7) - 0x30;
    if (minor !== 0 && minor !== 1) return this.#bad("version is not HTTP/1.1 or HTTP/1.0");
    this.minor = minor;
    return COMPLETE;
  }

  #scanLineEnd(bytes: Uint8Array, i: number, stop: number): ScanStatus {
    if (i === stop) return INCOMPLETE;
    if (at(bytes, i) !== CR) return this.#bad(lineProblem(at(bytes, i)));
    if (i + 1 === stop) return INCOMPLETE;
    if (at(bytes, i + 1) !== LF) return this.#bad("carriage return without line feed");
    this.fieldsStart = i + 2;
    return COMPLETE;
  }

  #scanFields(bytes: Uint8Array, from: number, stop: number, already: number): ScanStatus {
    const { fields } = this;
    const { fieldLines, nameBytes, valueBytes } = this.#bounds;
    let count = already;
    let i = from;
    for (;;) {
      this.lineStart = i;
      this.lineCount = count;
      if (i === stop) return INCOMPLETE;
      const first = bytes[i];
      if (first === CR) {
        if (i + 1 === stop) return INCOMPLETE;
        if (bytes[i + 1] !== LF) return this.#bad("carriage return without line feed");
        this.count = count;
        this.fieldsEnd = i;
        this.headEnd = i + 2;
        return COMPLETE;
      }
      if (count === fieldLines) return this.#large("more field lines than allowed");
      const nameStart = i;
      while (i < stop && TOKEN[bytes[i] as number] === 1) i += 1;
      const nameEnd = i;
      if (nameEnd - nameStart > nameBytes) return this.#large("field name over its limit");
      if (i === stop) return INCOMPLETE;
      if (nameEnd === nameStart || bytes[i] !== COLON)
        return this.#bad(nameProblem(bytes[i] as number, nameEnd - nameStart));
      i += 1;
      while (i < stop && (bytes[i] === SP || bytes[i] === HTAB)) i += 1;
      const valueStart = i;
      while (i < stop && VALUE[bytes[i] as number] === 1) i += 1;
      if (i - valueStart > valueBytes) return this.#large("field value over its limit");
      if (i === stop) return INCOMPLETE;
      if (bytes[i] !== CR) return this.#bad(lineProblem(bytes[i] as number));
      if (i + 1 === stop) return INCOMPLETE;
      if (bytes[i + 1] !== LF) return this.#bad("carriage return without line feed");
      let valueEnd = i;
      while (valueEnd > valueStart && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === HTAB)) valueEnd -= 1;
      const base = count * STRIDE;
      fields[base + NAME_START] = nameStart;
      fields[base + NAME_END] = nameEnd;
      fields[base + VALUE_START] = valueStart;
      fields[base + VALUE_END] = valueEnd;
      fields[base + NAME_ID] = knownField(bytes, nameStart, nameEnd - nameStart);
      count += 1;
      i += 2;
    }
  }
}

function nameProblem(byte: number, before: number): string {
  if (byte === SP || byte === HTAB)
    return before === 0 ? "folded field line" : "whitespace before the colon of a field";
  if (byte === LF || byte === CR) return "field line without colon";
  return "byte that a field name must not hold";
}

function lineProblem(byte: number): string {
  if (byte === LF) return "line feed without carriage return";
  return byte === 0 ? "NUL in a line" : "control byte in a line";
}
