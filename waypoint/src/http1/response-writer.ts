// Machine. Writes the responses of one client's connection in HTTP/1.1, each as the client of its request can take it.
import type { ByteChannel } from "../channel/channel.ts";
import { Outgoing } from "../channel/outgoing.ts";
import { CHUNKED, NO_BODY, UNTIL_CLOSE, type BodyKind } from "../http/body-kind.ts";
import type { ResponseHead } from "../http/message.ts";
import { reasonOf } from "../http/reason.ts";
import { lengthLine, type LocalAnswer } from "../local-answer.ts";
import { switchedLines } from "./switching.ts";

/** One response after another. Nothing is written before `flush`. */
export class ResponseWriter {
  readonly #out: Outgoing;
  #toHead = false;
  #isOld = false;
  #takesTrailers = false;
  /** The body as the client gets it. */
  #body: BodyKind = NO_BODY;

  constructor(channel: ByteChannel) {
    this.#out = new Outgoing(channel);
  }

  /**
   * The request that is answered next.
   *
   * @param toHead it is a HEAD
   * @param isOld it came by HTTP/1.0, which knows no chunks and no interim responses
   */
  begin(toHead: boolean, isOld: boolean, takesTrailers: boolean): void {
    this.#toHead = toHead;
    this.#isOld = isOld;
    this.#takesTrailers = takesTrailers;
  }

  /** HTTP/1.0 knows no interim responses (RFC 9110 section 15.2). */
  interim(head: ResponseHead): void {
    if (!this.#isOld) this.#out.text(`${statusLine(head.status, head.reason)}${head.keptFields()}\r\n`);
  }

  /** `fields` in place of the head's own. */
  head(head: ResponseHead, fields: string, keepAlive: boolean): void {
    this.#body = head.body;
    if (head.body === CHUNKED || head.body === UNTIL_CLOSE) this.#body = this.#isOld ? UNTIL_CLOSE : CHUNKED;
    const framing = this.#body === CHUNKED ? "transfer-encoding: chunked\r\n" : "";
    const connection = keepAlive ? "" : "connection: close\r\n";
    this.#out.text(`${statusLine(head.status, head.reason)}${fields}${framing}${connection}\r\n`);
  }

  /** Another protocol begins, for the client whose key of WebSocket was `key`: what follows is written as it is. */
  switched(protocol: string, key: string | undefined, fields: string): void {
    this.#body = UNTIL_CLOSE;
    this.#out.text(`${statusLine(101, undefined)}${fields}${switchedLines(protocol, key, fields)}\r\n`);
  }

  /** Body bytes, as `ResponseSink.onData`. */
  data(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    const chunked = this.#body === CHUNKED;
    if (chunked) this.#out.text(`${(end - start).toString(16)}\r\n`);
    this.#out.bytes(bytes, start, end, readEnd, lent);
    if (chunked) this.#out.text("\r\n");
  }

  /** The body is over. */
  end(trailers: string): void {
    if (this.#body === CHUNKED) this.#out.text(`0\r\n${this.#takesTrailers ? trailers : ""}\r\n`);
  }

  /** A whole response of our own. */
  local(answer: LocalAnswer, keepAlive: boolean): void {
    const { status, fields, body } = answer;
    const connection = keepAlive ? "" : "connection: close\r\n";
    const head = `${statusLine(status, undefined)}${fields}${lengthLine(answer)}${connection}\r\n`;
    this.#out.text(this.#toHead ? head : head + body);
  }

  /** Writes what was gathered. `false`: the client does not take it; `drained` is to be called when it does. */
  flush(): boolean {
    return this.#out.flush();
  }

  /** The channel has room again. */
  drained(): void {
    this.#out.drained();
  }
}

/** "HTTP/1.1" is the version of this hop, whatever the application speaks (RFC 9110 section 2.5). */
function statusLine(status: number, reason: string | undefined): string {
  return `HTTP/1.1 ${status} ${reason ?? reasonOf(status)}\r\n`;
}
