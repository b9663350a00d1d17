// Pure. Finds the end of a message body as its bytes come, for each of the ways in which HTTP/1.1 frames one (RFC 9112
// sections 6 and 7). Hands out stretches of the very buffers that came in; keeps nothing but trailers.
import { CR, HEX, LF, SEMICOLON, VALUE, at } from "./bytes.ts";
import { ALLOWED_TRAILERS } from "../../http/trailers.ts";
import type { HttpLimits } from "../../http/limits.ts";
import { CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE, type BodyKind } from "../../http/body-kind.ts";
import { COMPLETE, HeadScanner, NAME_END, STRIDE } from "./scan.ts";

/** All bytes are used; more must come. */
export const MORE = 0;
/** Bytes `dataStart` to `dataEnd` belong to the body; call again with `position`. */
export const DATA = 1;
/** The body is whole; `position` is the first byte after it, and `trailers` are there. */
export const DONE = 2;
/** The framing is broken; `problem` says how. */
export const BROKEN = 3;

type BodyStatus = typeof MORE | typeof DATA | typeof DONE | typeof BROKEN;

/** 2^48 - 1: no honest chunk is larger, and the sum stays exact. */
const MAX_SIZE_DIGITS = 12;

// States inside a chunked body.
const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const PAYLOAD = 3;
const PAYLOAD_CR = 4;
const PAYLOAD_LF = 5;
const TRAILER_LINE = 6;
const TRAILER = 7;
const TRAILER_LF = 8;
const LAST_LF = 9;
const END = 10;

/** Decodes one body after another; one object for each direction of a connection. */
export class BodyDecoder {
  dataStart = 0;
  dataEnd = 0;
  position = 0;
  /** Allowed trailer lines, each with its CRLF. */
  trailers = "";
  problem = "";
  #kind: BodyKind = NO_BODY;
  /** Bytes left of the body or of the chunk. */
  #left = 0;
  #state = SIZE;
  #digits = 0;
  #extensionBytes = 0;
  #trailer: Buffer | undefined = undefined;
  #trailerLength = 0;
  readonly #limits: HttpLimits;

  constructor(limits: HttpLimits) {
    this.#limits = limits;
  }

  /** Begins a body; `contentLength` is only used for `LENGTH`. */
  begin(kind: BodyKind, contentLength: number): void {
    this.#kind = kind;
    this.#left = kind === LENGTH ? contentLength : 0;
    this.#state = SIZE;
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.#trailerLength = 0;
    this.trailers = "";
  }

  /** Whether the end of the connection is the end of this body. */
  get endsWithConnection(): boolean {
    return this.#kind === UNTIL_CLOSE;
  }

  /** Looks at the bytes from `from` to `end`. */
  next(bytes: Buffer, from: number, end: number): BodyStatus {
    if (this.#kind === CHUNKED) return this.#nextChunked(bytes, from, end);
    this.position = from;
    if (this.#kind === UNTIL_CLOSE) return from === end ? MORE : this.#data(from, end);
    if (this.#left === 0) return DONE;
    if (from === end) return MORE;
    const until = Math.min(end, from + this.#left);
    this.#left -= until - from;
    return this.#data(from, until);
  }

  #data(from: number, until: number): BodyStatus {
    this.dataStart = from;
    this.dataEnd = until;
    this.position = until;
    return DATA;
  }

  #broken(problem: string): BodyStatus {
    this.problem = problem;
    return BROKEN;
  }

  #nextChunked(bytes: Buffer, from: number, end: number): BodyStatus {
    let i = from;
    for (;;) {
      if (this.#state === END) {
        this.position = i;
        return DONE;
      }
      if (i === end) {
        this.position = i;
        return MORE;
      }
      if (this.#state === PAYLOAD) {
        const until = Math.min(end, i + this.#left);
        this.#left -= until - i;
        if (this.#left === 0) this.#state = PAYLOAD_CR;
        return this.#data(i, until);
      }
      const problem = this.#state >= TRAILER_LINE ? this.#trailerByte(at(bytes, i)) : this.#framingByte(at(bytes, i));
      if (problem !== undefined) return this.#broken(problem);
      i += 1;
    }
  }

  /** One byte of a size line, or of the line end after a chunk. */
  #framingByte(byte: number): string | undefined {
    switch (this.#state) {
      case SIZE:
        return this.#sizeByte(byte);
      case EXTENSION:
        if (byte === CR) this.#state = SIZE_LF;
        else if (VALUE[byte] !== 1) return "byte that a chunk extension must not hold";
        else {
          this.#extensionBytes += 1;
          if (this.#extensionBytes > this.#limits.chunkExtensionBytes) return "chunk extensions over their limit";
        }
        return undefined;
      case SIZE_LF:
        if (byte !== LF) return "chunk size without line feed";
        this.#state = this.#left === 0 ? TRAILER_LINE : PAYLOAD;
        return undefined;
      case PAYLOAD_CR:
        if (byte !== CR) return "chunk longer than its size";
        this.#state = PAYLOAD_LF;
        return undefined;
      default:
        if (byte !== LF) return "chunk longer than its size";
        this.#state = SIZE;
        this.#digits = 0;
        return undefined;
    }
  }

  #sizeByte(byte: number): string | undefined {
    const digit = HEX[byte] as number;
    if (digit < 16) {
      this.#digits += 1;
      if (this.#digits > MAX_SIZE_DIGITS) return "chunk size of too many digits";
      this.#left = this.#left * 16 + digit;
      return undefined;
    }
    if (this.#digits === 0) return "chunk size is not hexadecimal";
    if (byte === CR) this.#state = SIZE_LF;
    else if (byte === SEMICOLON) this.#state = EXTENSION;
    else return byte === LF ? "line feed without carriage return" : "chunk size is not hexadecimal";
    return undefined;
  }

  /** One byte after the last chunk. Line ends are checked at once; the lines as a whole when they are all there. */
  #trailerByte(byte: number): string | undefined {
    switch (this.#state) {
      case TRAILER_LINE:
        if (byte === CR) {
          this.#state = LAST_LF;
          return undefined;
        }
        this.#state = TRAILER;
        return this.#keep(byte);
      case TRAILER:
        if (byte === LF) return "line feed without carriage return";
        if (byte === CR) this.#state = TRAILER_LF;
        return this.#keep(byte);
      case TRAILER_LF:
        if (byte !== LF) return "carriage return without line feed";
        this.#state = TRAILER_LINE;
        return this.#keep(byte);
      default:
        if (byte !== LF) return "carriage return without line feed";
        this.#state = END;
        return this.#readTrailers();
    }
  }

  #keep(byte: number): string | undefined {
    const { trailerBytes } = this.#limits;
    if (this.#trailerLength === trailerBytes) return "trailers over their limit";
    // Two bytes more than may be kept, for the empty line that the scanner wants to see.
    this.#trailer ??= Buffer.allocUnsafe(trailerBytes + 2);
    this.#trailer[this.#trailerLength] = byte;
    this.#trailerLength += 1;
    return undefined;
  }

  #readTrailers(): string | undefined {
    const bytes = this.#trailer;
    if (bytes === undefined || this.#trailerLength === 0) return undefined;
    bytes[this.#trailerLength] = CR;
    bytes[this.#trailerLength + 1] = LF;
    const { trailerBytes, trailerLines, nameBytes, valueBytes } = this.#limits;
    const scanner = new HeadScanner({ headBytes: trailerBytes + 2, fieldLines: trailerLines, nameBytes, valueBytes });
    if (scanner.scanTrailers(bytes, 0, this.#trailerLength + 2) !== COMPLETE) return `trailer: ${scanner.problem}`;
    const { fields, count } = scanner;
    for (let i = 0; i < count; i += 1) {
      const start = fields[i * STRIDE] as number;
      const next = i + 1 < count ? (fields[(i + 1) * STRIDE] as number) : scanner.fieldsEnd;
      if (ALLOWED_TRAILERS.find(bytes, start, fields[i * STRIDE + NAME_END] as number) >= 0) {
        this.trailers += bytes.toString("latin1", start, next);
      }
    }
    this.#trailer = undefined;
    return undefined;
  }
}
