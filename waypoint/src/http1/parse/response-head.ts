// Pure. What a scanned response head means to this hop: framing of the body, whether the connection may serve again, which
// fields go on (RFC 9112 sections 4, 6 and 9).
import { type Failure, fail } from "@culvert/shared/failure/failure.ts";
import { CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE, type BodyKind } from "../../http/body-kind.ts";
import type { ResponseHead } from "../../http/message.ts";
import { ConnectionOptions } from "./connection-options.ts";
import * as field from "./field-names.ts";
import { IN_CHUNKS, readFraming, UNSAID } from "./framing.ts";
import { NAME_END, NAME_ID, STRIDE, VALUE_END, VALUE_START, type HeadScanner } from "./scan.ts";

const NOTHING = Buffer.alloc(0);
/** Behind "HTTP/1.1 200 ". */
const REASON_START = 13;

/** Reads one response head after another out of the scanner's table; one object serves all connections in turn. */
export class ResponseHeadReader implements ResponseHead {
  readonly scanner: HeadScanner;
  status = 0;
  body: BodyKind = NO_BODY;
  /** Of a body of kind `LENGTH`, at least 1. */
  contentLength = 0;
  /** The upstream lets this connection serve another request. */
  keepAlive = false;
  #bytes: Buffer = NOTHING;
  #start = 0;
  #upgrade = -1;
  readonly #options = new ConnectionOptions();
  readonly #dropped: Uint8Array;

  constructor(scanner: HeadScanner) {
    this.scanner = scanner;
    this.#dropped = new Uint8Array(scanner.fields.length / STRIDE);
  }

  /**
   * Takes in the head that `scanner.scanResponse` has just found complete in `bytes` at `start`; `toHead` says that the
   * request was a HEAD. Heads that leave the end of the body to chance are UPSTREAM_RESPONSE_MALFORMED.
   */
  read(bytes: Buffer, start: number, toHead: boolean): Failure | undefined {
    this.#bytes = bytes;
    this.#start = start;
    this.status = this.scanner.status;
    this.contentLength = 0;
    this.#options.reset();
    const problem = this.#sortFields(toHead);
    if (problem !== undefined) return fail("UPSTREAM_RESPONSE_MALFORMED", problem);
    this.keepAlive = this.scanner.minor === 1 && !this.#options.close && this.body !== UNTIL_CLOSE;
    return undefined;
  }

  /** Whether the one `Upgrade` field names `protocol` (lower case) and nothing else. */
  switchesTo(protocol: string): boolean {
    const i = this.#upgrade;
    if (i < 0) return false;
    const value = this.#bytes.toString("latin1", this.#field(i, VALUE_START), this.#field(i, VALUE_END));
    return value.toLowerCase() === protocol;
  }

  /** Forgets the buffer, so that it can be reclaimed or used again. */
  release(): void {
    this.#bytes = NOTHING;
  }

  get reason(): string {
    const from = this.#start + REASON_START;
    const to = this.scanner.fieldsStart - 2;
    return to > from ? this.#bytes.toString("latin1", from, to) : "";
  }

  keptFields(): string {
    const { fields, count, fieldsEnd } = this.scanner;
    const bytes = this.#bytes;
    let text = "";
    let from = this.scanner.fieldsStart;
    for (let i = 0; i < count; i += 1) {
      if (this.#dropped[i] === 0) continue;
      const line = fields[i * STRIDE] as number;
      if (line > from) text += bytes.toString("latin1", from, line);
      from = i + 1 < count ? (fields[(i + 1) * STRIDE] as number) : fieldsEnd;
    }
    return fieldsEnd > from ? text + bytes.toString("latin1", from, fieldsEnd) : text;
  }

  #sortFields(toHead: boolean): string | undefined {
    const { fields, count } = this.scanner;
    // RFC 9112 section 6.3: these have no body whatever their fields say.
    const bodiless = toHead || this.status < 200 || this.status === 204 || this.status === 304;
    const noFraming = this.status < 200 || this.status === 204;
    let contentLength = -1;
    let transferEncoding = -1;
    this.#upgrade = -1;
    for (let i = 0; i < count; i += 1) {
      let drop = 1;
      switch (fields[i * STRIDE + NAME_ID]) {
        case field.CONTENT_LENGTH:
          if (contentLength >= 0) return "more than one Content-Length";
          contentLength = i;
          drop = noFraming ? 1 : 0;
          break;
        case field.TRANSFER_ENCODING:
          if (transferEncoding >= 0) return "more than one Transfer-Encoding";
          transferEncoding = i;
          break;
        case field.CONNECTION:
          if (!this.#options.add(this.#bytes, this.#field(i, VALUE_START), this.#field(i, VALUE_END))) {
            return "too many names in Connection";
          }
          break;
        case field.UPGRADE:
          // The second one makes both useless.
          this.#upgrade = this.#upgrade === -1 ? i : -2;
          break;
        case field.KEEP_ALIVE:
        case field.PROXY_CONNECTION:
        case field.TE:
        case field.DISGUISED:
        case field.X_FORWARDED_CLIENT_CERT:
          break;
        default:
          drop = 0;
          break;
      }
      this.#dropped[i] = drop;
    }
    if (this.#options.any) this.#dropNamed();
    return this.#readFraming(contentLength, transferEncoding, bodiless);
  }

  #dropNamed(): void {
    for (let i = 0; i < this.scanner.count; i += 1) {
      if (this.#dropped[i] !== 0 || this.#field(i, NAME_ID) === field.CONTENT_LENGTH) continue;
      if (this.#options.names(this.#bytes, this.#field(i, 0), this.#field(i, NAME_END))) this.#dropped[i] = 1;
    }
  }

  #readFraming(contentLength: number, transferEncoding: number, bodiless: boolean): string | undefined {
    const { fields, minor } = this.scanner;
    const length = readFraming(this.#bytes, fields, minor, contentLength, transferEncoding);
    if (typeof length === "string") return length;
    if (bodiless || length === 0) this.body = NO_BODY;
    else if (length === UNSAID) this.body = UNTIL_CLOSE;
    else if (length === IN_CHUNKS) this.body = CHUNKED;
    else {
      this.body = LENGTH;
      this.contentLength = length;
    }
    return undefined;
  }

  #field(index: number, part: number): number {
    return this.scanner.fields[index * STRIDE + part] as number;
  }
}
