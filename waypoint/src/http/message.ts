// Types. Requests and responses between the two sides of the waypoint, in no version of HTTP. Header fields are text, one line
// `name: value\r\n` each, latin1: what HTTP/1.1 receives is copied, filters edit text, HTTP/2 makes and reads lines.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { HeaderSlots } from "../http1/header-slots.ts";
import type { BodyKind } from "./body-kind.ts";

/** Version of HTTP by which a client came. */
export type HttpVersion = "HTTP/1.0" | "HTTP/1.1" | "HTTP/2";

/** The head of the request in flight. Only valid during the call that it is handed to: what is needed later is read then. */
export interface RequestHead {
  readonly method: string;
  /** Origin form as received (`/path?query`, visible ASCII, not normalized) or `*`; an absolute form has been split. */
  readonly target: string;
  /** Value of the one `Host` or `:authority`, not yet checked beyond its characters; `undefined` only in HTTP/1.0. */
  readonly authority: string | undefined;
  readonly version: HttpVersion;
  readonly body: BodyKind;
  /** The client can take trailers in the response. */
  readonly takesTrailers: boolean;
  /** Protocol that the client asks to switch to, lower case; it is one of those that are let through. */
  readonly upgrade: string | undefined;
  /** Sorts the fields that `slots` names. */
  fill(slots: HeaderSlots): void;
  /** How many fields of the request carry the name of `slot`, a number from the `HeaderSlots` of `fill`. */
  fieldCount(slot: number): number;
  /** Value of the `index`-th (from 0) of them, without surrounding whitespace; rules see a list, never a join. */
  fieldValue(slot: number, index: number): string | undefined;
  /**
   * The field lines that go on. Not among them: Host, framing other than Content-Length, what ends at this hop (RFC 9110 section
   * 7.6.1), what this hop sets itself.
   */
  keptFields(): string;
  /** All `x-forwarded-for` of the request as one list, empty when there is none. */
  forwardedFor(): string;
  /** All `x-culvert-via` of the request as one list, empty when there is none. */
  via(): string;
  /** The one well-formed `x-request-id`, else empty. */
  requestId(): string;
}

/** What a route may change of a request before it is sent. */
export interface RequestDraft {
  method: string;
  /** Path and query, or `*`. */
  path: string;
  authority: string;
  /** As `RequestHead.keptFields`, with what this hop has set. */
  fields: string;
}

/** A request as it is sent to an upstream. */
export interface RequestMessage extends Readonly<RequestDraft> {
  readonly body: BodyKind;
  readonly takesTrailers: boolean;
  readonly upgrade: string | undefined;
}

/** The head of a response, final or interim. Only valid during the call that it is handed to. */
export interface ResponseHead {
  readonly status: number;
  readonly body: BodyKind;
  /** As it came; HTTP/2 has none. */
  readonly reason: string | undefined;
  /** The field lines that go on: no framing but Content-Length, nothing that ends at this hop. */
  keptFields(): string;
}

/** Who waits for a response. Called in this order: any `onInterim`, one `onHead`, any `onData`, one `onResponseEnd`. */
export interface ResponseSink {
  onInterim(head: ResponseHead): void;
  /** Status 101: both sides have switched; from now on bodies are bytes of the other protocol, each ended by its sender. */
  onHead(head: ResponseHead): void;
  /** Body bytes `start` to `end`, without framing; see `Outgoing.bytes` for the others. */
  onData(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void;
  /** The response is whole. `trailers` are field lines. The connection has been given back already. */
  onResponseEnd(trailers: string): void;
  /** All of one read has been handed over: the moment to write. Not called after `onResponseEnd`. */
  onReadEnd(): void;
  /** The request's bytes have been taken: there is room again. */
  onUpstreamDrain(): void;
  /** The response will not come, or not whole. `answered`: some byte of it had come. */
  onUpstreamFailed(failure: Failure, answered: boolean): void;
}

/** What takes one request to an application: a connection of HTTP/1.1, or a stream of HTTP/2. */
export interface UpstreamRequest {
  /**
   * The connection has served before, and could have been closed by the application while the request was on its way: an
   * idempotent one may go by another connection.
   */
  readonly reused: boolean;
  /** Begins the request. The body follows by `data`, then `finish`, then `flush`. */
  start(sink: ResponseSink, message: RequestMessage): void;
  /** Body bytes, as `ResponseSink.onData`. */
  data(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void;
  /** The request is whole. `trailers` are field lines. */
  finish(trailers: string): void;
  /** Writes what was gathered. `false`: wait for `onUpstreamDrain`. */
  flush(): boolean;
  pause(): void;
  resume(): void;
  /** Not needed after all: to be called instead of `start`. */
  giveBack(): void;
  /** Nobody wants the response any more: the request ends at the application too. The sink hears nothing after this. */
  abandon(failure: Failure | undefined): void;
}
