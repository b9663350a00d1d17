// Pure. What the header list of an HTTP/2 request means to this hop: its pseudo-header fields, the length of its body, which fields
// go on (RFC 9113 section 8, RFC 8441). The library refuses much of what is malformed; what would be another request to an
// application in HTTP/1.1 is refused here whoever else has looked.
import { type Failure, fail } from "@culvert/shared/failure/failure.ts";
import { FIELD_OVERHEAD } from "@culvert/shared/tunnel/header-list.ts";
import { CHUNKED, LENGTH, NO_BODY, type BodyKind } from "../http/body-kind.ts";
import type { RequestHead } from "../http/message.ts";
import type { HeaderSlots } from "../http1/header-slots.ts";
import { sameAuthority } from "../http1/parse/request-target.ts";
import * as field from "./field-names.ts";

/** Bounds of one header list. */
export interface HeadBounds {
  /** Names, values, and 32 for each field (RFC 9113 section 6.5.2). */
  readonly headBytes: number;
  /** Fields beside the pseudo-header fields; the crumbs of Cookie are one. */
  readonly fieldLines: number;
  readonly nameBytes: number;
  readonly valueBytes: number;
}

/** Fates of a field. */
const KEEP = 0;
/** Not copied; set anew by this hop or part of the start line; policy and log may read it. */
const REPLACED = 1;
/** Ends here and is seen by nobody after us. */
const STRIPPED = 2;

const COLON = 0x3a;
const METHOD = /^[A-Z-]{1,32}$/;
const PATH = /^\/[\x21-\x7e]*$/;
/** A host with port: reg-name without percent-encoding, IPv4, bracketed IPv6. No userinfo, no list. */
const AUTHORITY = /^[A-Za-z0-9._~:[\]-]+$/;
/** No leading zero, which is octal to some, and no more digits than a number holds exactly. */
const LENGTH_DIGITS = /^(0|[1-9]\d{0,14})$/;
const SANE_REQUEST_ID = /^[\w.:+/=@-]{1,128}$/;
const NO_LIST: readonly string[] = [];

/** Reads one header list after another; one object serves all streams in turn. */
export class Http2RequestHead implements RequestHead {
  readonly version = "HTTP/2";
  method = "";
  target = "";
  authority: string | undefined = undefined;
  body: BodyKind = NO_BODY;
  /** As announced, -1 when it is not. */
  contentLength = -1;
  takesTrailers = false;
  upgrade: string | undefined = undefined;
  /** What the list weighs (RFC 9113 section 6.5.2). */
  bytes = 0;
  readonly #bounds: HeadBounds;
  readonly #upgrades: ReadonlySet<string>;
  #list: readonly string[] = NO_LIST;
  #fates = new Uint8Array(64);
  /** Index of Content-Length, if there is one. */
  #length = 0;
  #problem: string | undefined = undefined;
  #lines = 0;
  #path: string | undefined = undefined;
  #scheme: string | undefined = undefined;
  #protocol: string | undefined = undefined;
  #host: string | undefined = undefined;
  #expect: string | undefined = undefined;
  #cookie = -1;
  #crumbs = 0;
  #forwardedFor = 0;
  #via = 0;
  #requestIds = 0;
  #requestId = "";
  /** Values by slot, in the order of the list. */
  #values: (string | string[] | undefined)[] = [];

  /** @param upgrades protocols that clients may switch to, lower case */
  constructor(bounds: HeadBounds, upgrades: ReadonlySet<string>) {
    this.#bounds = bounds;
    this.#upgrades = upgrades;
  }

  /**
   * Takes in names and values in turn, the names in lower case. `ended`: nothing follows (END_STREAM). What could be read can be read
   * after a failure too.
   */
  read(list: readonly string[], ended: boolean): Failure | undefined {
    this.#clear(list);
    const { headBytes, fieldLines } = this.#bounds;
    const count = list.length / 2;
    if (count > this.#fates.length) this.#fates = new Uint8Array(count);
    let bytes = count * FIELD_OVERHEAD;
    for (let k = 0; k < count; k += 1) {
      const name = list[2 * k] as string;
      const value = list[2 * k + 1] as string;
      bytes += name.length + value.length;
      this.#fates[k] = name.charCodeAt(0) === COLON ? this.#readPseudo(name, value) : this.#readField(name, value, k);
    }
    this.bytes = bytes;
    if (bytes > headBytes || this.#lines > fieldLines) {
      return fail("REQUEST_TOO_LARGE", `${count} fields of ${bytes} bytes`);
    }
    const problem = this.#problem ?? this.#readTarget(ended) ?? this.#readLength(ended);
    if (problem !== undefined) return fail("REQUEST_MALFORMED", problem);
    return this.#refusal();
  }

  /** Forgets the list. */
  release(): void {
    this.#list = NO_LIST;
    this.#values.length = 0;
  }

  fill(slots: HeaderSlots): void {
    const { size } = slots;
    this.#values.length = 0;
    if (size === 0) return;
    for (let i = 0; i < size; i += 1) this.#values.push(undefined);
    const list = this.#list;
    for (let k = 0; 2 * k < list.length; k += 1) {
      if (this.#fates[k] === STRIPPED) continue;
      const slot = slots.findName(list[2 * k] as string);
      if (slot < 0) continue;
      const value = k === this.#cookie ? this.#joinedCookie() : (list[2 * k + 1] as string);
      const before = this.#values[slot];
      if (before === undefined) this.#values[slot] = value;
      else if (typeof before === "string") this.#values[slot] = [before, value];
      else before.push(value);
    }
  }

  fieldCount(slot: number): number {
    const values = this.#values[slot];
    if (values === undefined) return 0;
    return typeof values === "string" ? 1 : values.length;
  }

  fieldValue(slot: number, index: number): string | undefined {
    const values = this.#values[slot];
    if (typeof values !== "string") return values?.[index];
    return index === 0 ? values : undefined;
  }

  keptFields(): string {
    const list = this.#list;
    let text = "";
    for (let k = 0; 2 * k < list.length; k += 1) {
      if (this.#fates[k] !== KEEP) continue;
      const value = k === this.#cookie ? this.#joinedCookie() : list[2 * k + 1];
      text += `${list[2 * k]}: ${value}\r\n`;
    }
    return text;
  }

  forwardedFor(): string {
    return this.#forwardedFor === 0 ? "" : this.#joined("x-forwarded-for");
  }

  via(): string {
    return this.#via === 0 ? "" : this.#joined("x-culvert-via");
  }

  requestId(): string {
    return this.#requestIds === 1 && SANE_REQUEST_ID.test(this.#requestId) ? this.#requestId : "";
  }

  #clear(list: readonly string[]): void {
    this.#list = list;
    this.#values.length = 0;
    this.method = "";
    this.target = "";
    this.authority = undefined;
    this.body = NO_BODY;
    this.contentLength = -1;
    this.takesTrailers = false;
    this.upgrade = undefined;
    this.#problem = undefined;
    this.#lines = 0;
    this.#path = undefined;
    this.#scheme = undefined;
    this.#protocol = undefined;
    this.#host = undefined;
    this.#expect = undefined;
    this.#cookie = -1;
    this.#crumbs = 0;
    this.#forwardedFor = 0;
    this.#via = 0;
    this.#requestIds = 0;
    this.#requestId = "";
  }

  #readPseudo(name: string, value: string): number {
    switch (name) {
      case ":method":
        this.method = value;
        break;
      case ":path":
        this.#path = value;
        break;
      case ":authority":
        this.authority = value;
        break;
      case ":scheme":
        this.#scheme = value;
        break;
      case ":protocol":
        this.#protocol = value;
        break;
      default:
        this.#problem ??= `pseudo-header field ${name}`;
    }
    return STRIPPED;
  }

  #readField(name: string, value: string, k: number): number {
    this.#lines += 1;
    const { nameBytes, valueBytes, headBytes } = this.#bounds;
    // Over the bound of one is over the bound of all: the answer is the same.
    if (name.length > nameBytes || value.length > valueBytes) this.#lines += headBytes;
    switch (field.knownField(name)) {
      case field.OTHER:
        return KEEP;
      case field.FORBIDDEN:
        this.#problem ??= `field ${name}`;
        return STRIPPED;
      case field.HOST:
        if (this.#host !== undefined) this.#problem ??= "more than one Host";
        this.#host = value;
        return REPLACED;
      case field.CONTENT_LENGTH:
        if (this.contentLength >= 0) this.#problem ??= "more than one Content-Length";
        if (!LENGTH_DIGITS.test(value)) this.#problem ??= "Content-Length is not a plain decimal number";
        this.contentLength = Number(value);
        this.#length = k;
        return KEEP;
      case field.TE:
        if (value.toLowerCase() !== "trailers") this.#problem ??= "TE other than trailers";
        this.takesTrailers = true;
        return STRIPPED;
      case field.COOKIE:
        this.#crumbs += 1;
        if (this.#crumbs > 1) this.#lines -= 1;
        else this.#cookie = k;
        return this.#crumbs > 1 ? STRIPPED : KEEP;
      case field.EXPECT:
        if (this.#expect !== undefined) this.#problem ??= "more than one Expect";
        this.#expect = value;
        return KEEP;
      case field.X_FORWARDED_FOR:
        this.#forwardedFor += 1;
        return REPLACED;
      case field.X_REQUEST_ID:
        this.#requestIds += 1;
        this.#requestId = value;
        return REPLACED;
      case field.X_CULVERT_VIA:
        this.#via += 1;
        return REPLACED;
      default:
        return STRIPPED;
    }
  }

  #readTarget(ended: boolean): string | undefined {
    if (!METHOD.test(this.method)) return "method is not upper-case letters";
    const problem = this.#readAuthority();
    if (problem !== undefined) return problem;
    if (this.method === "CONNECT") {
      if (this.#protocol === undefined) return undefined;
      if (ended || this.contentLength >= 0) return "extended CONNECT whose stream is not open";
      this.upgrade = this.#protocol.toLowerCase();
      // As the rules and HTTP/1.1 know it (RFC 6455 section 4.1).
      this.method = "GET";
    } else if (this.#protocol !== undefined) return ":protocol without CONNECT";
    if (this.#scheme !== "http" && this.#scheme !== "https") return "scheme is neither http nor https";
    const path = this.#path ?? "";
    if (!PATH.test(path) && (path !== "*" || this.method !== "OPTIONS")) return "path is not a path of visible ASCII";
    this.target = path;
    return undefined;
  }

  #readAuthority(): string | undefined {
    const { authority } = this;
    if (authority !== undefined && !AUTHORITY.test(authority)) return "authority holds what it must not hold";
    if (this.#host !== undefined && !AUTHORITY.test(this.#host)) return "Host holds what it must not hold";
    if (authority === undefined) this.authority = this.#host;
    // Two names for one request is an attack on whoever looks at the other one.
    else if (this.#host !== undefined && !sameAuthority(authority, this.#host)) return "authority and Host differ";
    return this.authority === undefined ? "no authority" : undefined;
  }

  #readLength(ended: boolean): string | undefined {
    if (ended) return this.contentLength > 0 ? "a length and no body" : undefined;
    if (this.upgrade !== undefined) return undefined;
    // Bytes may follow all the same: it is a whole request only once the stream has ended without any.
    if (this.contentLength === 0) this.#fates[this.#length] = STRIPPED;
    this.body = this.contentLength > 0 ? LENGTH : CHUNKED;
    return undefined;
  }

  #refusal(): Failure | undefined {
    if (this.method === "CONNECT" || this.method === "TRACE") return fail("METHOD_REFUSED", this.method);
    if (this.upgrade !== undefined && !this.#upgrades.has(this.upgrade)) return fail("UPGRADE_REFUSED", this.upgrade);
    if (this.#expect === undefined || this.#expect.toLowerCase() === "100-continue") return undefined;
    return fail("EXPECTATION_REFUSED", this.#expect);
  }

  /** The crumbs of Cookie as one (RFC 9113 section 8.2.3). */
  #joinedCookie(): string {
    const list = this.#list;
    if (this.#crumbs === 1) return list[2 * this.#cookie + 1] as string;
    const crumbs: string[] = [];
    for (let i = 2 * this.#cookie; i < list.length; i += 2)
      if (list[i] === "cookie") crumbs.push(list[i + 1] as string);
    return crumbs.join("; ");
  }

  #joined(name: string): string {
    const list = this.#list;
    let text = "";
    for (let i = 0; i < list.length; i += 2) {
      const value = list[i + 1];
      if (list[i] === name && value !== "") text = text === "" ? `${value}` : `${text}, ${value}`;
    }
    return text;
  }
}
