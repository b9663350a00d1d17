// Machine. One HTTP/2 connection of a client: its streams, its guard, its deadlines and its end. Each stream is one request.
import { performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { type Failure, fail, RESET_REFUSED_STREAM } from "@culvert/shared/failure/failure.ts";
import { processMemoryCap } from "@culvert/shared/net/memory-cap.ts";
import { SessionGuard } from "@culvert/shared/tunnel/guard.ts";
import { headerListSize } from "@culvert/shared/tunnel/header-list.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import type { ByteChannel } from "../channel/channel.ts";
import { ChannelError, sessionCarrier } from "../channel/channel-duplex.ts";
import { type Due, NEVER } from "../deadlines.ts";
import type { ConnectionServices, ExchangeServices } from "../exchange-services.ts";
import { Exchange } from "../exchange.ts";
import type { UpstreamConnections } from "../upstream/connections.ts";
import { Farewell } from "./farewell.ts";
import { ServerStream, type StreamOwner } from "./server-stream.ts";
import type { Http2Shared } from "./shared-state.ts";
import { Turn } from "./turn.ts";

const END_STREAM = 0x1;
/** How often everything of a session is looked at, in milliseconds. */
const TICK_MS = 1_000;
/** How long a client has to take our GOAWAY before its connection is destroyed. */
const FAREWELL_MS = 500;
/** A GOAWAY that leaves room for the requests that are on their way (RFC 9113 section 6.8). */
const ANY_STREAM = 0x7fff_ffff;
/** Streams that a session keeps the means for when they are over. */
const MOST_SPARE = 32;

/** See the head of the file. Made for a channel that nobody reads yet; `start` begins. */
export class Http2Downstream implements Due, StreamOwner {
  dueAt: number;
  readonly turn = new Turn();
  readonly #channel: ByteChannel;
  readonly #services: ConnectionServices;
  readonly #shared: Http2Shared;
  readonly #connections: UpstreamConnections;
  readonly #guard: SessionGuard;
  readonly #streams = new Set<ServerStream>();
  readonly #spare: ServerStream[] = [];
  #session: ServerHttp2Session | undefined = undefined;
  #farewell: Farewell | undefined = undefined;
  #idleAt: number;
  /** When the GOAWAY is said that names the last stream. */
  #closesAt = NEVER;
  #askedForLife = false;
  /** We have ended it, or it has ended. */
  #over = false;

  constructor(
    channel: ByteChannel,
    services: ConnectionServices,
    shared: Http2Shared,
    connections: UpstreamConnections,
  ) {
    this.#channel = channel;
    this.#services = services;
    this.#shared = shared;
    this.#connections = connections;
    this.#guard = new SessionGuard(shared.limits.session, shared.clock);
    this.dueAt = shared.deadlines.in(TICK_MS);
    this.#idleAt = shared.deadlines.in(shared.messages.idleMs);
  }

  /** Begins to read. */
  start(): void {
    const { deadlines, downstream, limits } = this.#shared;
    deadlines.add(this);
    const duplex = sessionCarrier(this.#channel);
    const session = performServerHandshake(duplex, downstream);
    this.#session = session;
    this.#farewell = new Farewell(this.#channel, duplex, this.#shared);
    session.on("error", (error: Error) => this.#broke(error));
    session.on("close", () => this.#forget());
    session.on("localSettings", () => this.#guard.settingsAcknowledged());
    session.on("stream", (stream, _headers, flags, list) => this.#onStream(stream, flags, list));
    session.setLocalWindowSize(limits.session.connectionWindow);
  }

  /** Streams open now. */
  get streams(): number {
    return this.#streams.size;
  }

  /** No more requests after those that are on their way: they go on, and the last one takes the connection with it. */
  drain(withinMs: number = this.#shared.messages.drainIdleMs): void {
    const session = this.#session;
    if (this.#over || session === undefined || session.destroyed) return;
    const isFirst = this.#closesAt === NEVER;
    // Of a session without streams the library reads nothing after its GOAWAY: a request that crosses has to be told that it was not taken.
    if (this.#streams.size === 0) return session.close();
    this.#closesAt = Math.min(this.#closesAt, this.#shared.deadlines.in(withinMs));
    this.dueAt = Math.min(this.dueAt, this.#closesAt);
    if (isFirst) session.goaway(0, ANY_STREAM);
  }

  /** Ends the connection because of `failure`, which is the answer to the requests in flight of which none has begun. */
  dismiss(failure: Failure): void {
    for (const stream of this.#streams) stream.breakOff(failure);
    const session = this.#session;
    if (this.#over || session === undefined || session.destroyed) return;
    session.close();
    this.#over = true;
    this.#shared.clock.after(FAREWELL_MS, () => this.#end(failure));
  }

  /** Ends those requests in flight that `why` has a reason for, each with its own. */
  breakOff(why: (services: ExchangeServices) => Failure | undefined): void {
    for (const stream of this.#streams) {
      const failure = why(stream.services);
      if (failure !== undefined) stream.breakOff(failure);
    }
  }

  released(stream: ServerStream, early: boolean): void {
    this.#streams.delete(stream);
    if (this.#spare.length < MOST_SPARE) this.#spare.push(stream);
    if (this.#streams.size === 0) {
      this.#idleAt = this.#shared.deadlines.in(this.#shared.messages.idleMs);
      if (this.#closesAt !== NEVER) this.#session?.close();
    }
    if (early) this.#spend(this.#guard.earlyReset());
  }

  misbehaved(): void {
    this.#spend(this.#guard.badRequest());
  }

  onDue(): void {
    const { deadlines } = this.#shared;
    const { now } = deadlines;
    this.dueAt = deadlines.in(TICK_MS);
    for (const stream of this.#streams) if (stream.dueAt <= now) stream.onDue();
    const session = this.#session;
    if (session?.destroyed === true) return this.#farewell?.tick();
    if (this.#over || session === undefined) return;
    const overdue = this.#guard.overdue();
    if (overdue !== undefined) this.#end(overdue);
    else if (now >= this.#closesAt || (this.#streams.size === 0 && now >= this.#idleAt)) session.close();
    else if (this.#guard.isSuspect && !this.#askedForLife && !session.closed) {
      this.#askedForLife = true;
      session.ping((error) => {
        if (error === null) this.#guard.answeredPing();
      });
    }
  }

  #onStream(stream: ServerHttp2Stream, flags: number, list: readonly string[]): void {
    stream.on("error", ignore);
    // The runtime announces a stream a moment late: by then it may be reset, or the whole session given up.
    if (this.#over) return;
    const { oversized, end } = this.#guard.head(headerListSize(list));
    if (end !== undefined) return this.#end(end);
    if (stream.closed || stream.destroyed) return this.#spend(this.#guard.earlyReset());
    if (this.#streams.size >= this.#shared.limits.session.maxConcurrentStreams) {
      return resetStream(stream, RESET_REFUSED_STREAM);
    }
    const serving = this.#spare.pop() ?? new ServerStream(this, this.#services, this.#shared, this.#connections);
    this.#streams.add(serving);
    const refusal = oversized ? fail("REQUEST_TOO_LARGE", "header list") : processMemoryCap.shortage;
    return serving.serve(stream, list, (flags & END_STREAM) !== 0, refusal);
  }

  #spend(failure: Failure | undefined): void {
    if (failure !== undefined) this.#end(failure);
  }

  /** Ends everything now: GOAWAY with the failure's code, every stream reset. */
  #end(failure: Failure): void {
    const session = this.#session;
    if (session === undefined || session.destroyed) return;
    if (!this.#over) this.#report(failure);
    this.#over = true;
    session.goaway(failure.traits.resetCode);
    // Without an error the runtime would end the streams in order, and what was cut short would look whole.
    session.destroy(new ChannelError(failure), failure.traits.resetCode);
  }

  /** The session broke: by the library's own verdict on the client's frames, or because the client or its connection went away. */
  #broke(error: Error & { code?: string }): void {
    if (this.#over || error instanceof ChannelError) return;
    this.#over = true;
    if (error.code === "ERR_HTTP2_ERROR") this.#report(fail("MISBEHAVING_PEER", `HTTP/2: ${error.message}`));
  }

  /** One line in the log for what is no request. */
  #report(failure: Failure): void {
    new Exchange(NOBODY, this.#services, this.#shared.http, this.#connections).reject(failure, undefined);
  }

  #forget(): void {
    this.#over = true;
    if (this.dueAt === NEVER) return;
    this.dueAt = NEVER;
    this.#shared.deadlines.remove(this);
    this.#services.closed();
  }
}

function ignore(): void {}

/** A client that is told nothing: its connection is ended by other means. */
const NOBODY = {
  proceed: ignore,
  holdBody: ignore,
  sendInterim: ignore,
  sendHead: ignore,
  sendData: ignore,
  sendEnd: ignore,
  sendLocal: ignore,
  flush: (): boolean => true,
  cut: ignore,
  finished: ignore,
};
