// Pure. What the header list of an HTTP/2 response means to this hop: status, the length of its body, which fields go on (RFC 9113
// section 8).
import { type Failure, fail } from "@culvert/shared/failure/failure.ts";
import { FIELD_OVERHEAD } from "@culvert/shared/tunnel/header-list.ts";
import { CHUNKED, LENGTH, NO_BODY, type BodyKind } from "../http/body-kind.ts";
import type { ResponseHead } from "../http/message.ts";
import * as field from "./field-names.ts";
import type { HeadBounds } from "./request-head.ts";

const COLON = 0x3a;
const STATUS = /^[1-5]\d\d$/;
const LENGTH_DIGITS = /^(0|[1-9]\d{0,14})$/;
const GRPC = "application/grpc";
const NO_LIST: readonly string[] = [];

/** Reads one header list after another; one object serves all streams in turn. */
export class Http2ResponseHead implements ResponseHead {
  status = 0;
  body: BodyKind = NO_BODY;
  readonly reason = undefined;
  /** Its trailers may have any names. */
  isGrpc = false;
  readonly #bounds: HeadBounds;
  #list: readonly string[] = NO_LIST;
  #extra = "";
  /** No body whatever its fields say, and its length means nothing. */
  #bare = false;

  constructor(bounds: HeadBounds) {
    this.#bounds = bounds;
  }

  /**
   * Takes in names and values in turn, the names in lower case. `ended`: nothing follows (END_STREAM); `toHead`: the request was a
   * HEAD.
   */
  read(list: readonly string[], ended: boolean, toHead: boolean): Failure | undefined {
    this.#list = list;
    this.#extra = "";
    this.isGrpc = false;
    let status = "";
    let contentLength = -1;
    let bytes = (list.length / 2) * FIELD_OVERHEAD;
    for (let i = 0; i < list.length; i += 2) {
      const name = list[i] as string;
      const value = list[i + 1] as string;
      bytes += name.length + value.length;
      if (name === ":status") status = value;
      else if (name === "content-type") this.isGrpc = value.startsWith(GRPC);
      else if (name === "content-length") {
        if (contentLength >= 0 || !LENGTH_DIGITS.test(value)) return malformed("Content-Length");
        contentLength = Number(value);
      } else if (field.knownField(name) === field.FORBIDDEN) return malformed(`field ${name}`);
    }
    const { headBytes, fieldLines } = this.#bounds;
    if (bytes > headBytes || list.length > 2 * (fieldLines + 1)) return malformed("response head over its limit");
    if (!STATUS.test(status)) return malformed("status");
    this.status = Number(status);
    if (this.status < 200 && ended) return malformed("interim response that ends the stream");
    this.#bare = this.status < 200 || this.status === 204;
    if (ended || toHead || this.#bare || this.status === 304) this.body = NO_BODY;
    else this.body = contentLength >= 0 ? LENGTH : CHUNKED;
    // What ends with its head needs to say so in HTTP/1.1.
    const isEmpty = ended && !toHead && !this.#bare && this.status !== 304 && contentLength < 0;
    if (isEmpty) this.#extra = "content-length: 0\r\n";
    return undefined;
  }

  /** Says it as HTTP/1.1 does: an application has taken an extended CONNECT (RFC 8441 section 5), so both sides have switched. */
  switched(): void {
    this.status = 101;
    this.#extra = "";
    this.#bare = true;
    this.body = NO_BODY;
  }

  /** Forgets the list. */
  release(): void {
    this.#list = NO_LIST;
  }

  keptFields(): string {
    const list = this.#list;
    let text = "";
    for (let i = 0; i < list.length; i += 2) {
      const name = list[i] as string;
      if (name.charCodeAt(0) === COLON) continue;
      const known = field.knownField(name);
      if (known === field.DROPPED || known === field.TE) continue;
      if (known === field.CONTENT_LENGTH && this.#bare) continue;
      text += `${name}: ${list[i + 1]}\r\n`;
    }
    return text + this.#extra;
  }
}

function malformed(what: string): Failure {
  return fail("UPSTREAM_RESPONSE_MALFORMED", what);
}
