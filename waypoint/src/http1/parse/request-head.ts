// Pure. What a scanned request head means to this hop: target, framing of the body, what the connection was asked, which
// fields go on and which end here (RFC 9112 sections 3, 6 and 9; RFC 9110 section 7.6.1).
import { type Failure, fail, isFailure } from "@culvert/shared/failure/failure.ts";
import { type BodyKind, CHUNKED, LENGTH, NO_BODY } from "../../http/body-kind.ts";
import type { HttpVersion, RequestHead } from "../../http/message.ts";
import { WEBSOCKET, websocketKey } from "../../http/websocket.ts";
import { equalsName, type HeaderSlots } from "../header-slots.ts";
import { SLASH, at } from "./bytes.ts";
import { ConnectionOptions } from "./connection-options.ts";
import * as field from "./field-names.ts";
import { IN_CHUNKS, readFraming } from "./framing.ts";
import { methodText, readHost, readOtherForm, sameAuthority } from "./request-target.ts";
import { NAME_END, NAME_ID, STRIDE, VALUE_END, VALUE_START, type HeadScanner } from "./scan.ts";
import { chosenProtocol } from "./upgrade.ts";

/** Fates of a field. */
const KEEP = 0;
/** Not copied; set anew by this hop or part of the start line; policy and log may read it. */
const REPLACED = 1;
/** Ends here and is seen by nobody after us. */
const STRIPPED = 2;

const NOTHING = Buffer.alloc(0);
const CONTINUE = Buffer.from("100-continue", "latin1");
const TRAILERS = "trailers";
/** Ids are for logs: what is longer or stranger than any generator's is replaced. */
const SANE_REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;

/** Reads one request head after another out of the scanner's table; one object serves all connections in turn. */
export class RequestHeadReader implements RequestHead {
  readonly scanner: HeadScanner;
  method = "";
  target = "";
  authority: string | undefined = undefined;
  version: HttpVersion = "HTTP/1.1";
  body: BodyKind = NO_BODY;
  /** Of a body of kind `LENGTH`, at least 1. */
  contentLength = 0;
  /** The client lets this connection serve another request. */
  keepAlive = true;
  /** `TE: trailers` was said. */
  takesTrailers = false;
  upgrade: string | undefined = undefined;
  /** Of an upgrade to WebSocket. */
  websocketKey: string | undefined = undefined;
  /** The client waits for an answer before it sends the body. */
  expectsContinue = false;
  #bytes: Buffer = NOTHING;
  readonly #options = new ConnectionOptions();
  readonly #upgrades: ReadonlySet<string>;
  readonly #fates: Uint8Array;
  #firstOfSlot: Int32Array = new Int32Array(8);
  readonly #nextOfSlot: Int32Array;
  #slotCount = 0;
  #host = -1;
  #contentLength = -1;
  #transferEncoding = -1;
  #offersUpgrade = false;
  #expect = -1;
  #forwardedFor = -1;
  #requestId = -1;
  #via = -1;
  #requestIds = 0;

  /** @param upgrades protocols that clients may switch to, lower case */
  constructor(scanner: HeadScanner, upgrades: ReadonlySet<string>) {
    this.scanner = scanner;
    this.#upgrades = upgrades;
    const lines = scanner.fields.length / STRIDE;
    this.#fates = new Uint8Array(lines);
    this.#nextOfSlot = new Int32Array(lines);
  }

  /** Takes in the head that `scanner.scanRequest` has just found complete in `bytes` at `start`. */
  read(bytes: Buffer, start: number): Failure | undefined {
    this.#bytes = bytes;
    this.#clear();
    this.method = methodText(bytes, start, this.scanner.methodEnd);
    this.version = this.scanner.minor === 1 ? "HTTP/1.1" : "HTTP/1.0";
    const problem = this.#sortFields() ?? this.#readTarget(this.#host) ?? this.#readFraming();
    if (problem !== undefined) return fail("REQUEST_MALFORMED", problem);
    if (this.method === "CONNECT" || this.method === "TRACE") return fail("METHOD_REFUSED", this.method);
    this.keepAlive = this.scanner.minor === 1 && !this.#options.close;
    return this.#readUpgrade() ?? this.#readExpectation();
  }

  /** Forgets the buffer, so that it can be reclaimed or used again. */
  release(): void {
    this.#bytes = NOTHING;
  }

  fill(slots: HeaderSlots): void {
    const { size } = slots;
    if (size > this.#firstOfSlot.length) this.#firstOfSlot = new Int32Array(size);
    this.#slotCount = size;
    if (size === 0) return;
    this.#firstOfSlot.fill(-1, 0, size);
    const { fields } = this.scanner;
    for (let i = this.scanner.count - 1; i >= 0; i -= 1) {
      if (this.#fates[i] === STRIPPED) continue;
      const base = i * STRIDE;
      const slot = slots.find(this.#bytes, int(fields, base), int(fields, base + NAME_END));
      if (slot < 0) continue;
      this.#nextOfSlot[i] = int(this.#firstOfSlot, slot);
      this.#firstOfSlot[slot] = i;
    }
  }

  fieldCount(slot: number): number {
    let count = 0;
    for (let i = this.#first(slot); i >= 0; i = int(this.#nextOfSlot, i)) count += 1;
    return count;
  }

  fieldValue(slot: number, index: number): string | undefined {
    let left = index;
    for (let i = this.#first(slot); i >= 0; i = int(this.#nextOfSlot, i)) {
      if (left === 0) return this.#value(i);
      left -= 1;
    }
    return undefined;
  }

  keptFields(): string {
    const { fields, count, fieldsEnd } = this.scanner;
    let text = "";
    let from = this.scanner.fieldsStart;
    for (let i = 0; i < count; i += 1) {
      if (this.#fates[i] === KEEP) continue;
      const line = int(fields, i * STRIDE);
      if (line > from) text += this.#bytes.toString("latin1", from, line);
      from = i + 1 < count ? int(fields, (i + 1) * STRIDE) : fieldsEnd;
    }
    return fieldsEnd > from ? text + this.#bytes.toString("latin1", from, fieldsEnd) : text;
  }

  forwardedFor(): string {
    return this.#forwardedFor < 0 ? "" : this.#joined(field.X_FORWARDED_FOR);
  }

  via(): string {
    return this.#via < 0 ? "" : this.#joined(field.X_CULVERT_VIA);
  }

  requestId(): string {
    if (this.#requestIds !== 1) return "";
    const value = this.#value(this.#requestId);
    return SANE_REQUEST_ID.test(value) ? value : "";
  }

  #clear(): void {
    this.method = "";
    this.target = "";
    this.authority = undefined;
    this.body = NO_BODY;
    this.contentLength = 0;
    this.takesTrailers = false;
    this.upgrade = undefined;
    this.websocketKey = undefined;
    this.expectsContinue = false;
    this.#options.reset();
    this.#slotCount = 0;
    this.#host = -1;
    this.#contentLength = -1;
    this.#transferEncoding = -1;
    this.#offersUpgrade = false;
    this.#expect = -1;
    this.#forwardedFor = -1;
    this.#requestId = -1;
    this.#via = -1;
    this.#requestIds = 0;
  }

  /** One pass over the table: remembers the fields that matter and decides which go on. Returns what is wrong. */
  #sortFields(): string | undefined {
    const { fields, count } = this.scanner;
    for (let i = 0; i < count; i += 1) {
      const base = i * STRIDE;
      let fate = STRIPPED;
      switch (fields[base + NAME_ID]) {
        case field.OTHER:
          fate = KEEP;
          break;
        case field.HOST_FIELD:
          if (this.#host >= 0) return "more than one Host";
          this.#host = i;
          fate = REPLACED;
          break;
        case field.CONTENT_LENGTH:
          if (this.#contentLength >= 0) return "more than one Content-Length";
          this.#contentLength = i;
          fate = KEEP;
          break;
        case field.TRANSFER_ENCODING:
          if (this.#transferEncoding >= 0) return "more than one Transfer-Encoding";
          this.#transferEncoding = i;
          break;
        case field.CONNECTION:
          if (!this.#options.add(this.#bytes, int(fields, base + VALUE_START), int(fields, base + VALUE_END))) {
            return "too many names in Connection";
          }
          break;
        case field.EXPECT:
          if (this.#expect >= 0) return "more than one Expect";
          this.#expect = i;
          // Never asked of us by HTTP/1.0 (RFC 9110 section 10.1.1).
          fate = this.scanner.minor === 1 ? KEEP : STRIPPED;
          break;
        case field.UPGRADE:
          this.#offersUpgrade = true;
          break;
        case field.TE:
          if (this.#value(i).toLowerCase().includes(TRAILERS)) this.takesTrailers = true;
          break;
        case field.X_FORWARDED_FOR:
          this.#forwardedFor = i;
          fate = REPLACED;
          break;
        case field.X_REQUEST_ID:
          this.#requestId = i;
          this.#requestIds += 1;
          fate = REPLACED;
          break;
        case field.X_CULVERT_VIA:
          this.#via = i;
          fate = REPLACED;
          break;
        default:
          break;
      }
      this.#fates[i] = fate;
    }
    if (this.#options.any) this.#stripNamed();
    return undefined;
  }

  /** Fields that `Connection` names end here, except those without which the next hop would read another request. */
  #stripNamed(): void {
    const { fields, count } = this.scanner;
    for (let i = 0; i < count; i += 1) {
      const base = i * STRIDE;
      if (this.#fates[i] !== KEEP || fields[base + NAME_ID] === field.CONTENT_LENGTH) continue;
      if (this.#options.names(this.#bytes, int(fields, base), int(fields, base + NAME_END))) this.#fates[i] = STRIPPED;
    }
  }

  #readTarget(host: number): string | undefined {
    const { fields, minor, targetStart, targetEnd } = this.scanner;
    if (host >= 0) {
      const base = host * STRIDE;
      const authority = readHost(this.#bytes, int(fields, base + VALUE_START), int(fields, base + VALUE_END));
      if (isFailure(authority)) return authority.detail;
      this.authority = authority;
    } else if (minor === 1) return "no Host";
    if (this.method === "CONNECT") return undefined;
    if (at(this.#bytes, targetStart) === SLASH) {
      this.target = this.#bytes.toString("latin1", targetStart, targetEnd);
      return undefined;
    }
    const other = readOtherForm(this.#bytes, targetStart, targetEnd, this.method);
    if (isFailure(other)) return other.detail;
    if (other.authority !== undefined) {
      this.authority ??= other.authority;
      // Two names for one request is an attack on whoever looks at the other one.
      if (!sameAuthority(other.authority, this.authority)) return "target and Host name different authorities";
    }
    this.target = other.target;
    return undefined;
  }

  #readFraming(): string | undefined {
    const { fields, minor } = this.scanner;
    const length = readFraming(this.#bytes, fields, minor, this.#contentLength, this.#transferEncoding);
    if (typeof length === "string") return length;
    if (length === IN_CHUNKS) this.body = CHUNKED;
    else if (length > 0) {
      this.body = LENGTH;
      this.contentLength = length;
    }
    return undefined;
  }

  #readUpgrade(): Failure | undefined {
    // HTTP/1.0 cannot ask (RFC 9110 section 7.8).
    if (!this.#offersUpgrade || !this.#options.upgrade || this.scanner.minor === 0) return undefined;
    const offered = this.#joined(field.UPGRADE);
    const chosen = chosenProtocol(offered, this.#upgrades);
    if (chosen === undefined) return undefined;
    if (chosen === false) return fail("UPGRADE_REFUSED", offered);
    // What is behind the head would be a body to one reader and the other protocol to another.
    if (this.body !== NO_BODY) return fail("REQUEST_MALFORMED", `upgrade to ${chosen} with a body`);
    this.upgrade = chosen;
    if (chosen !== WEBSOCKET) return undefined;
    if (this.method !== "GET") return fail("REQUEST_MALFORMED", `WebSocket by ${this.method}`);
    this.websocketKey = websocketKey(this.keptFields());
    return this.websocketKey === undefined ? fail("REQUEST_MALFORMED", "WebSocket without one key") : undefined;
  }

  #readExpectation(): Failure | undefined {
    if (this.#expect < 0 || this.scanner.minor === 0) return undefined;
    if (this.#valueIs(this.#expect, CONTINUE)) {
      this.expectsContinue = true;
      return undefined;
    }
    return fail("EXPECTATION_REFUSED", this.#value(this.#expect));
  }

  #first(slot: number): number {
    return slot < this.#slotCount ? int(this.#firstOfSlot, slot) : -1;
  }

  #value(index: number): string {
    const base = index * STRIDE;
    return this.#bytes.toString(
      "latin1",
      int(this.scanner.fields, base + VALUE_START),
      int(this.scanner.fields, base + VALUE_END),
    );
  }

  #valueIs(index: number, wanted: Uint8Array): boolean {
    const start = int(this.scanner.fields, index * STRIDE + VALUE_START);
    const end = int(this.scanner.fields, index * STRIDE + VALUE_END);
    return end - start === wanted.length && equalsName(this.#bytes, start, wanted);
  }

  #joined(id: number): string {
    const { fields, count } = this.scanner;
    let text = "";
    for (let i = 0; i < count; i += 1) {
      if (fields[i * STRIDE + NAME_ID] !== id) continue;
      const value = this.#value(i);
      if (value !== "") text = text === "" ? value : `${text}, ${value}`;
    }
    return text;
  }
}

function int(list: Int32Array, index: number): number {
  return list[index] as number;
}
