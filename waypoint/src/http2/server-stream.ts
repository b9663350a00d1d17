// Machine. One request of an HTTP/2 client: hands its stream to the exchange, and writes the response. One object serves streams one
// after another, since making everything that a request needs costs more than the request. It is one thing, the states of a stream.
import type { ServerHttp2Stream } from "node:http2";
import {
  type Failure,
  fail,
  RESET_NO_ERROR,
  RESET_PROTOCOL_ERROR,
  RESET_INTERNAL_ERROR,
  RESET_CANCEL,
} from "@culvert/shared/failure/failure.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import { mergeSmallFrames } from "@culvert/shared/tunnel/small-frames.ts";
import { isWholeEnd, wasEndedByPeer } from "@culvert/shared/tunnel/whole-end.ts";
import { NEVER } from "../deadlines.ts";
import type { ConnectionServices, ExchangeServices } from "../exchange-services.ts";
import { Exchange, type ExchangeClient } from "../exchange.ts";
import { FieldNames, withoutFields } from "../filter/field-lines.ts";
import { CHUNKED, NO_BODY, type BodyKind } from "../http/body-kind.ts";
import type { ResponseHead } from "../http/message.ts";
import { trailerLines } from "../http/trailers.ts";
import { lengthLine, type LocalAnswer } from "../local-answer.ts";
import type { UpstreamConnections } from "../upstream/connections.ts";
import { appendFields, fieldObject } from "./field-lines.ts";
import type { Http2Shared } from "./shared-state.ts";
import { StreamWriter } from "./stream-writer.ts";
import type { Gathered, Turn } from "./turn.ts";

/** How long the rest of a request may take before the client is told that nobody wants it. */
const SPARE_MS = 25;
/** HTTP/1.1's proof that an answer is to a handshake; a stream of HTTP/2 needs none (RFC 8441 section 5). */
const PROOF = new FieldNames(["sec-websocket-accept"]);
const ENDS = { endStream: true, sendDate: false } as const;
const GOES_ON = { sendDate: false } as const;
const HAS_TRAILERS = { waitForTrailers: true, sendDate: false } as const;

/** The connection of a stream. */
export interface StreamOwner {
  readonly turn: Turn;
  /** The stream is gone; the object may serve another one. `early`: the client took its request back at once. */
  released(stream: ServerStream, early: boolean): void;
  /** The client broke the rules of its stream. */
  misbehaved(): void;
}

/** See the head of the file. */
export class ServerStream implements ExchangeClient, Gathered {
  /** In the time of `Deadlines.now`. */
  dueAt = NEVER;
  /** What answers for the request in flight. */
  readonly services: ExchangeServices;
  readonly #owner: StreamOwner;
  readonly #shared: Http2Shared;
  readonly #exchange: Exchange;
  readonly #out: StreamWriter;
  #stream: ServerHttp2Stream | undefined = undefined;
  #startedAt = 0;
  /** The client has sent END_STREAM. */
  #ended = false;
  #reading = false;
  /** What waits of the body is kept small. */
  #merging = false;
  #held = false;
  /** Request bytes were handed over and not flushed. */
  #gathered = false;
  #trailers = "";
  /** Both sides have switched to another protocol. */
  #switched = false;
  /** Status and lines of a response head that is not written yet; 0 when there is none. */
  #status = 0;
  #fields = "";
  #body: BodyKind = NO_BODY;
  #responseTrailers = "";
  #done = false;

  constructor(owner: StreamOwner, services: ConnectionServices, shared: Http2Shared, connections: UpstreamConnections) {
    this.#owner = owner;
    this.#shared = shared;
    this.services = services.requests();
    const own = { hop: services.hop, requests: () => this.services, closed: () => {} };
    this.#exchange = new Exchange(this, own, shared.http, connections);
    this.#out = new StreamWriter(() => this.#exchange.clientDrained());
  }

  /** Serves a stream; `refusal` is why it is not to be served. */
  serve(stream: ServerHttp2Stream, list: readonly string[], ended: boolean, refusal: Failure | undefined): void {
    const { requestHead: head, deadlines, messages } = this.#shared;
    this.#stream = stream;
    this.#startedAt = deadlines.now;
    this.dueAt = deadlines.in(messages.progressMs);
    this.#ended = ended;
    stream.on("aborted", this.#onAborted).on("close", this.#onClose);
    const failure = head.read(list, ended) ?? refusal;
    if (failure !== undefined) {
      if (failure.code === "REQUEST_MALFORMED" || failure.code === "REQUEST_TOO_LARGE") this.#owner.misbehaved();
      return this.#exchange.reject(failure, head);
    }
    this.#exchange.begin(head);
    head.release();
    if (!ended && !this.#reading && this.#stream === stream) this.#merge(stream);
  }

  /** Ends the request because of `failure`, which is its answer if none has begun. */
  breakOff(failure: Failure): void {
    this.#exchange.breakOff(failure);
  }

  /** The deadline has passed: whoever holds the other up is at fault. */
  onDue(): void {
    const { deadlines, messages } = this.#shared;
    this.dueAt = deadlines.in(messages.lingerMs);
    const stream = this.#stream;
    if (stream === undefined) return undefined;
    if (this.#done) return resetStream(stream, RESET_CANCEL);
    if (this.#switched) return this.#dueSwitched(stream);
    if (this.#out.full) return this.#abort(stream, fail("REQUEST_TIMEOUT", "response not read"));
    if (this.#reading && !this.#ended && !this.#held && this.#exchange.status === 0) {
      return this.#abort(stream, fail("REQUEST_TIMEOUT", "body of the request"));
    }
    return this.#exchange.timeOut();
  }

  proceed(): void {
    this.#read();
    // The head goes out even if no body comes with it: a client may wait for an answer before it sends any.
    this.#gather();
  }

  holdBody(hold: boolean): void {
    if (hold === this.#held) return;
    this.#held = hold;
    if (!this.#reading) return;
    const stream = this.#stream;
    if (stream === undefined) return;
    if (hold) this.#pause(stream);
    else stream.resume();
  }

  sendInterim(head: ResponseHead): void {
    const stream = this.#writable();
    if (stream === undefined || this.#status !== 0 || stream.headersSent) return;
    stream.additionalHeaders({ ":status": head.status, ...fieldObject(head.keptFields()) });
  }

  sendHead(head: ResponseHead, fields: string): void {
    // HTTP/1.1 allows statuses that have no meaning; the runtime's HTTP/2 sends none of them.
    if (head.status > 599) return this.#exchange.breakOff(malformed(`status ${head.status}`));
    this.#status = head.status;
    this.#fields = fields;
    this.#body = head.body;
    if (head.status === 101) this.#switch(fields);
    return undefined;
  }

  sendData(bytes: Buffer, start: number, end: number, _readEnd: number, lent: boolean): void {
    this.#out.add(bytes, start, end, lent);
  }

  sendEnd(trailers: string): void {
    const stream = this.#writable();
    if (stream === undefined) return;
    if (this.#status === 0) return this.#sendLast(stream, trailers, true);
    if (trailers !== "") this.#respond(stream, HAS_TRAILERS);
    else if (this.#out.pending) this.#respond(stream, GOES_ON);
    else return this.#respond(stream, ENDS);
    return this.#sendLast(stream, trailers, trailers !== "");
  }

  sendLocal(answer: LocalAnswer): void {
    const stream = this.#writable();
    if (stream === undefined) return;
    this.#status = answer.status;
    this.#fields = answer.fields + lengthLine(answer);
    if (answer.body === "" || this.#exchange.method === "HEAD") return this.#respond(stream, ENDS);
    this.#respond(stream, GOES_ON);
    stream.end(answer.body, "latin1");
  }

  flush(): boolean {
    const { deadlines, messages, limits } = this.#shared;
    this.dueAt = deadlines.in(this.#exchange.status === 0 ? messages.progressMs : limits.streamIdleMs);
    const stream = this.#writable();
    if (stream === undefined) return true;
    // A body of an announced length has no trailers behind it in HTTP/1.1, so none are waited for.
    if (this.#status !== 0) this.#respond(stream, this.#body === CHUNKED ? HAS_TRAILERS : GOES_ON);
    if (this.#out.write(stream)) return true;
    this.dueAt = deadlines.in(messages.progressMs);
    return false;
  }

  cut(failure: Failure): void {
    if (this.#stream !== undefined) resetStream(this.#stream, failure.traits.resetCode);
  }

  finished(): void {
    this.#done = true;
    const stream = this.#stream;
    if (stream === undefined || stream.destroyed) return;
    this.dueAt = this.#shared.deadlines.in(this.#shared.messages.progressMs);
    // Nobody will use the rest of the request: what comes of it is thrown away.
    stream.resume();
    if (!this.#ended) this.#spareRest(stream);
  }

  /**
   * Tells the client that it may spare the rest of its request (RFC 9113 section 8.1), unless that comes soon. Not at once: the library
   * forgets the answers of a stream that wait for the connection when that is reset.
   */
  #spareRest(stream: ServerHttp2Stream): void {
    this.#shared.clock.after(SPARE_MS, () => {
      if (stream.destroyed || stream.closed) return undefined;
      if ((stream.session?.state.outboundQueueSize ?? 0) > 0) return this.#spareRest(stream);
      return stream.close(RESET_NO_ERROR);
    });
  }

  endTurn(): void {
    this.#gathered = false;
    if (this.#exchange.active) this.#exchange.requestFlush();
  }

  #read(): void {
    const stream = this.#stream;
    if (this.#reading || stream === undefined) return;
    this.#reading = true;
    stream.on("data", this.#onData).on("end", this.#onEnd).on("trailers", this.#onTrailers);
    if (this.#held) this.#pause(stream);
  }

  #pause(stream: ServerHttp2Stream): void {
    this.#merge(stream);
    stream.pause();
  }

  /** From now on some of the body may wait. */
  #merge(stream: ServerHttp2Stream): void {
    if (this.#merging) return;
    this.#merging = true;
    mergeSmallFrames(stream);
  }

  /** The application speaks another protocol from now on: the response of RFC 8441, and bytes both ways. */
  #switch(fields: string): void {
    this.#fields = withoutFields(fields, PROOF);
    this.#switched = true;
    this.#status = 200;
    this.#read();
  }

  /** Nobody needs to say anything, as long as both sides might. */
  #dueSwitched(stream: ServerHttp2Stream): void {
    this.dueAt = this.#shared.deadlines.in(this.#shared.messages.progressMs);
    if (this.#ended || stream.writableEnded) {
      this.#abort(stream, fail("DOWNSTREAM_CLOSED", "half-closed and silent"));
    }
  }

  #respond(stream: ServerHttp2Stream, options: object): void {
    const list = [":status", String(this.#status)];
    appendFields(list, this.#fields);
    this.#status = 0;
    this.#fields = "";
    try {
      stream.respond(list, options);
    } catch {
      // A field that the runtime does not send; none is known, so this only must not end the process.
      resetStream(stream, RESET_INTERNAL_ERROR);
    }
  }

  /** The end, behind a head that is written. `announced`: the runtime waits for trailers. */
  #sendLast(stream: ServerHttp2Stream, trailers: string, announced: boolean): void {
    if (trailers !== "" && announced) {
      this.#responseTrailers = trailers;
      stream.once("wantTrailers", this.#onWantTrailers);
    }
    this.#out.end(stream);
  }

  /** The stream, as long as it takes something. */
  #writable(): ServerHttp2Stream | undefined {
    const stream = this.#stream;
    return stream === undefined || stream.destroyed || stream.closed ? undefined : stream;
  }

  #abort(stream: ServerHttp2Stream, failure: Failure): void {
    this.#exchange.clientGone(failure);
    resetStream(stream, failure.traits.resetCode);
  }

  #gather(): void {
    if (this.#gathered) return;
    this.#gathered = true;
    this.#owner.turn.add(this);
  }

  readonly #onData = (chunk: Buffer): void => {
    if (!this.#exchange.active) return;
    this.#exchange.requestData(chunk, 0, chunk.length, chunk.length, false);
    this.dueAt = this.#shared.deadlines.in(this.#shared.messages.progressMs);
    this.#gather();
  };

  readonly #onTrailers = (_headers: unknown, _flags: number, list: readonly string[]): void => {
    this.#trailers = trailerLines(list, false);
  };

  readonly #onEnd = (): void => {
    const stream = this.#stream;
    if (stream === undefined || this.#ended || !isWholeEnd(stream)) return;
    this.#ended = true;
    if (!this.#exchange.active) return;
    this.#exchange.requestEnd(this.#trailers);
    this.#exchange.requestFlush();
  };

  readonly #onWantTrailers = (): void => {
    const stream = this.#writable();
    if (stream !== undefined) stream.sendTrailers(fieldObject(this.#responseTrailers));
  };

  readonly #onAborted = (): void => {
    const stream = this.#stream;
    if (stream === undefined) return;
    if (wasEndedByPeer(stream)) this.#ended = true;
    if (this.#exchange.active) this.#exchange.clientGone(brokenOff(stream));
  };

  readonly #onClose = (): void => {
    const stream = this.#stream;
    if (stream === undefined) return;
    const { deadlines, limits } = this.#shared;
    const early = this.#exchange.status === 0 && deadlines.now - this.#startedAt < limits.earlyResetMs;
    if (this.#exchange.active) this.#exchange.clientGone(brokenOff(stream));
    if (stream.rstCode === RESET_PROTOCOL_ERROR) this.#owner.misbehaved();
    this.#reset();
    this.#owner.released(this, early);
  };

  #reset(): void {
    this.#stream = undefined;
    this.dueAt = NEVER;
    this.#out.reset();
    this.#reading = false;
    this.#merging = false;
    this.#held = false;
    this.#trailers = "";
    this.#switched = false;
    this.#status = 0;
    this.#fields = "";
    this.#responseTrailers = "";
    this.#done = false;
  }
}

/** Why the request of a stream that is gone cannot go on. */
function brokenOff({ rstCode }: ServerHttp2Stream): Failure {
  // The library ends a stream so whose body does not fit its Content-Length, whose trailers are none, and the like.
  if (rstCode === RESET_PROTOCOL_ERROR) return fail("REQUEST_MALFORMED", "the stream broke the rules of HTTP/2");
  return fail("DOWNSTREAM_CLOSED", `the stream was reset with code ${rstCode ?? 0}`);
}

function malformed(what: string): Failure {
  return fail("UPSTREAM_RESPONSE_MALFORMED", what);
}
