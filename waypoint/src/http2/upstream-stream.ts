// Machine. One request to an application over HTTP/2: a place on a session first, a stream once it is sent. One object serves requests
// one after another.
import type { ClientHttp2Stream } from "node:http2";
import {
  type Failure,
  fail,
  isFailure,
  RESET_NO_ERROR,
  RESET_PROTOCOL_ERROR,
  RESET_REFUSED_STREAM,
  RESET_CANCEL,
} from "@culvert/shared/failure/failure.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import { mergeSmallFrames } from "@culvert/shared/tunnel/small-frames.ts";
import { isWholeEnd, wasEndedByPeer, watchEnd } from "@culvert/shared/tunnel/whole-end.ts";
import { FieldNames, withoutFields } from "../filter/field-lines.ts";
import { CHUNKED } from "../http/body-kind.ts";
import type { RequestMessage, ResponseSink, UpstreamRequest } from "../http/message.ts";
import { trailerLines } from "../http/trailers.ts";
import { appendFields, fieldObject } from "./field-lines.ts";
import type { Http2Shared } from "./shared-state.ts";
import { StreamWriter } from "./stream-writer.ts";
import type { Gathered, Turn } from "./turn.ts";

const END_STREAM = 0x1;
const ENDED = { endStream: true } as const;
const OPEN = { endStream: false } as const;
const HAS_TRAILERS = { endStream: false, waitForTrailers: true } as const;
/** HTTP/1.1's proof that an answer is to a handshake; a stream of HTTP/2 needs none (RFC 8441 section 5). */
const PROOF = new FieldNames(["sec-websocket-key"]);

/** The session of a stream. */
export interface UpstreamOwner {
  readonly scheme: "http" | "https";
  readonly turn: Turn;
  /** The application has answered on it. */
  reused: boolean;
  /** Opens a stream; a failure when the session takes no more. */
  request(list: readonly string[], options: object): ClientHttp2Stream | Failure;
  /** The application takes extended CONNECT (RFC 8441 section 3). */
  readonly allowsConnect: boolean;
  /** Why all its streams are gone, if they are. */
  readonly failure: Failure | undefined;
  /** Streams above this one were not taken by the application. */
  readonly lastStream: number;
  /** The place is free again; the object may serve another request. */
  released(stream: UpstreamStream): void;
}

/** See the head of the file. */
export class UpstreamStream implements UpstreamRequest, Gathered {
  readonly #owner: UpstreamOwner;
  readonly #shared: Http2Shared;
  readonly #out: StreamWriter;
  #reused = false;
  #sink: ResponseSink | undefined = undefined;
  #message: RequestMessage | undefined = undefined;
  #stream: ClientHttp2Stream | undefined = undefined;
  #finished = false;
  #requestTrailers = "";
  #toHead = false;
  #paused = false;
  #reading = false;
  /** What waits of the response is kept small. */
  #merging = false;
  #gathered = false;
  /** A final response head has come. */
  #answered = false;
  /** Both sides have switched to another protocol, of which each ends its own direction. */
  #switched = false;
  #interims = 0;
  #ended = false;
  #isGrpc = false;
  #trailers = "";
  #failure: Failure | undefined = undefined;
  /** Counts requests, so that what comes late is not taken for another one's. */
  #use = 0;

  constructor(owner: UpstreamOwner, shared: Http2Shared) {
    this.#owner = owner;
    this.#shared = shared;
    this.#out = new StreamWriter(() => this.#sink?.onUpstreamDrain());
  }

  get reused(): boolean {
    return this.#reused;
  }

  start(sink: ResponseSink, message: RequestMessage): void {
    this.#sink = sink;
    this.#message = message;
    this.#reused = this.#owner.reused;
    this.#toHead = message.method === "HEAD";
  }

  data(bytes: Buffer, start: number, end: number, _readEnd: number, lent: boolean): void {
    this.#out.add(bytes, start, end, lent);
  }

  finish(trailers: string): void {
    this.#finished = true;
    this.#requestTrailers = trailers;
  }

  flush(): boolean {
    const stream = this.#stream;
    if (stream === undefined) return this.#send();
    if (stream.destroyed || stream.closed || stream.writableEnded) return true;
    if (!this.#finished) return this.#out.write(stream);
    if (this.#switched && this.#ended) this.#sink = undefined;
    this.#endRequest(stream);
    return true;
  }

  pause(): void {
    this.#paused = true;
    if (this.#stream !== undefined) this.#merge(this.#stream);
    if (this.#reading) this.#stream?.pause();
  }

  resume(): void {
    this.#paused = false;
    if (this.#reading) this.#stream?.resume();
    else if (this.#answered) this.#read();
  }

  giveBack(): void {
    this.#release();
  }

  abandon(failure: Failure | undefined): void {
    this.#sink = undefined;
    const stream = this.#stream;
    if (stream === undefined) return this.#release();
    return resetStream(stream, failure?.traits.resetCode ?? RESET_CANCEL);
  }

  endTurn(): void {
    this.#gathered = false;
    this.#sink?.onReadEnd();
  }

  /** Sends the head, and what there is of the body. */
  #send(): boolean {
    const message = this.#message;
    if (message === undefined) return true;
    if (message.upgrade !== undefined) return this.#sendUpgrade(message);
    const list = [":method", message.method, ":scheme", this.#owner.scheme, ":authority", message.authority];
    list.push(":path", message.path);
    appendFields(list, message.fields);
    if (message.takesTrailers) list.push("te", "trailers");
    const ended = this.#finished && !this.#out.pending && this.#requestTrailers === "";
    const mayTrail = this.#finished ? this.#requestTrailers !== "" : message.body === CHUNKED;
    const stream = this.#open(list, ended ? ENDED : mayTrail ? HAS_TRAILERS : OPEN);
    if (stream === undefined || ended) return true;
    if (!this.#finished) return this.#out.write(stream);
    this.#endRequest(stream);
    return true;
  }

  #endRequest(stream: ClientHttp2Stream): void {
    if (this.#requestTrailers !== "") stream.once("wantTrailers", this.#onWantTrailers);
    this.#out.end(stream);
  }

  /** RFC 8441 section 4. */
  #sendUpgrade(message: RequestMessage): boolean {
    if (!this.#owner.allowsConnect) {
      this.#failSoon(fail("UPGRADE_REFUSED", "the application takes no extended CONNECT"));
      return true;
    }
    const list = [":method", "CONNECT", ":protocol", message.upgrade ?? "", ":scheme", this.#owner.scheme];
    list.push(":authority", message.authority, ":path", message.path);
    appendFields(list, withoutFields(message.fields, PROOF));
    this.#open(list, OPEN);
    return true;
  }

  #open(list: readonly string[], options: object): ClientHttp2Stream | undefined {
    const stream = this.#owner.request(list, options);
    if (isFailure(stream)) {
      this.#failSoon(stream);
      return undefined;
    }
    this.#stream = stream;
    stream.on("response", this.#onResponse).on("headers", this.#onInterim).on("aborted", this.#onAborted);
    stream.on("error", ignore).on("close", this.#onClose);
    watchEnd(stream);
    return stream;
  }

  /** Whoever has just handed the request over does not expect its end. */
  #failSoon(failure: Failure): void {
    const use = this.#use;
    process.nextTick(() => {
      if (use !== this.#use) return;
      const sink = this.#sink;
      this.#release();
      sink?.onUpstreamFailed(failure, false);
    });
  }

  #read(): void {
    const stream = this.#stream;
    if (stream === undefined || this.#reading) return;
    this.#reading = true;
    stream.on("data", this.#onData).on("end", this.#onEnd);
  }

  /** From now on some of the response may wait. */
  #merge(stream: ClientHttp2Stream): void {
    if (this.#merging) return;
    this.#merging = true;
    mergeSmallFrames(stream);
  }

  #note(): void {
    if (this.#gathered) return;
    this.#gathered = true;
    this.#owner.turn.add(this);
  }

  readonly #onInterim = (_headers: unknown, flags: number, list: readonly string[]): void => {
    const sink = this.#sink;
    if (sink === undefined) return;
    const head = this.#shared.responseHead;
    const failure = head.read(list, (flags & END_STREAM) !== 0, this.#toHead);
    this.#interims += 1;
    if (failure !== undefined || head.status === 101) return this.#broken("interim response");
    if (this.#interims > this.#shared.messages.interimResponses) return this.#broken("too many interim responses");
    sink.onInterim(head);
    return this.#note();
  };

  readonly #onResponse = (_headers: unknown, flags: number, list: readonly string[]): void => {
    const sink = this.#sink;
    const stream = this.#stream;
    if (sink === undefined || stream === undefined) return;
    const head = this.#shared.responseHead;
    const ended = (flags & END_STREAM) !== 0;
    const failure = head.read(list, ended, this.#toHead);
    if (failure !== undefined) return this.#broken(failure.detail);
    this.#answered = true;
    this.#owner.reused = true;
    this.#isGrpc = head.isGrpc;
    const message = this.#message;
    if (message?.upgrade !== undefined && head.status >= 200 && head.status < 300) {
      this.#switched = true;
      head.switched();
    }
    stream.on("trailers", this.#onTrailers);
    sink.onHead(head);
    head.release();
    if (this.#sink === undefined) return;
    if (!this.#paused) this.#read();
    else if (!ended) this.#merge(stream);
    if (!ended) this.#note();
  };

  readonly #onTrailers = (_headers: unknown, _flags: number, list: readonly string[]): void => {
    this.#trailers = trailerLines(list, this.#isGrpc);
  };

  readonly #onData = (chunk: Buffer): void => {
    const sink = this.#sink;
    if (sink === undefined) return;
    sink.onData(chunk, 0, chunk.length, chunk.length, false);
    this.#note();
  };

  readonly #onEnd = (): void => {
    const stream = this.#stream;
    if (stream === undefined || (!this.#ended && !isWholeEnd(stream))) return;
    const sink = this.#sink;
    this.#ended = true;
    if (this.#switched && !this.#finished) return sink?.onResponseEnd("");
    this.#sink = undefined;
    // The application needs no more of the request than it has.
    if (!this.#finished) resetStream(stream, RESET_NO_ERROR);
    return sink?.onResponseEnd(this.#trailers);
  };

  readonly #onWantTrailers = (): void => {
    const stream = this.#stream;
    if (stream !== undefined && !stream.destroyed && !stream.closed) {
      stream.sendTrailers(fieldObject(this.#requestTrailers));
    }
  };

  readonly #onAborted = (): void => {
    if (this.#stream !== undefined && wasEndedByPeer(this.#stream)) this.#ended = true;
  };

  readonly #onClose = (): void => {
    const sink = this.#sink;
    const answered = this.#answered;
    const failure = sink === undefined ? undefined : this.#whyClosed();
    this.#release();
    if (failure !== undefined) sink?.onUpstreamFailed(failure, answered);
  };

  #whyClosed(): Failure {
    const { rstCode: code, id } = this.#stream ?? {};
    if (this.#failure !== undefined) return this.#failure;
    if (code === RESET_REFUSED_STREAM || (id ?? 0) > this.#owner.lastStream) {
      return fail("APP_REFUSED_REQUEST", `with code ${code ?? "unknown"}`);
    }
    if (this.#owner.failure !== undefined) return this.#owner.failure;
    if (code === RESET_PROTOCOL_ERROR)
      return fail("UPSTREAM_RESPONSE_MALFORMED", "the stream broke the rules of HTTP/2");
    return fail("APP_RESET_REQUEST", `with code ${code ?? "unknown"}`);
  }

  #broken(what: string): void {
    this.#failure = fail("UPSTREAM_RESPONSE_MALFORMED", what);
    if (this.#stream !== undefined) resetStream(this.#stream, RESET_PROTOCOL_ERROR);
  }

  #release(): void {
    this.#use += 1;
    this.#stream = undefined;
    this.#sink = undefined;
    this.#message = undefined;
    this.#out.reset();
    this.#finished = false;
    this.#requestTrailers = "";
    this.#paused = false;
    this.#reading = false;
    this.#merging = false;
    this.#answered = false;
    this.#switched = false;
    this.#interims = 0;
    this.#ended = false;
    this.#isGrpc = false;
    this.#trailers = "";
    this.#failure = undefined;
    this.#owner.released(this);
  }
}

function ignore(): void {}
