// Machine. A small gRPC client on the runtime's HTTP/2: unary calls, server streams and streams both ways over one session, which is
// opened with the first call and again after it has ended. Every wait has a deadline, every message a bound.
import { connect, constants } from "node:http2";
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import type { Clock, Timer } from "../net/clock.ts";
import { Deframer, framed } from "./framing.ts";
import { CallEnd, GRPC, endOf, endOfReset, refusalOf } from "./status.ts";
import type { ResponseFields } from "./status.ts";

/** What a client needs. */
export interface GrpcClientOptions {
  /** Opens the connection that a session runs over: a UNIX socket, or TLS that agrees on `h2`. Called once per session. */
  readonly dial: () => Duplex;
  /** `host:port` of the server, for `:authority`. */
  readonly authority: string;
  /** Whether what `dial` gives is TLS. */
  readonly secure: boolean;
  readonly clock: Clock;
  /** The longest message taken, in bytes. */
  readonly maxMessageBytes: number;
}

/** How a call begins: `/package.Service/Method`, and what goes along with it. */
export interface GrpcOpening {
  readonly method: string;
  readonly metadata?: Readonly<Record<string, string>>;
  /** What the messages are; Protocol Buffers when not given. */
  readonly contentType?: string;
}

/** A call with its one request message. */
export interface GrpcCall extends GrpcOpening {
  readonly message: Uint8Array;
}

/** A server stream that runs. */
export interface GrpcStream {
  /** Settles once, when the stream is over. */
  readonly ended: Promise<CallEnd>;
  cancel(): void;
}

/** A stream both ways that runs. */
export interface GrpcDuplex extends GrpcStream {
  /**
   * Sends a message. False when it is the last for now: the server takes no more, and `onDrain` says when it does again, or the
   * stream is over. Whoever sends on all the same ends the stream with RESOURCE_EXHAUSTED.
   */
  send(message: Uint8Array): boolean;
  /** Says that nothing more is sent; what the server still has to say may come. */
  finish(): void;
}

/** What a stream both ways tells. Neither may throw. */
export interface DuplexEvents {
  readonly onMessage: (message: Buffer) => void;
  /** The server takes messages again. */
  readonly onDrain: () => void;
}

const SETTINGS = { enablePush: false, initialWindowSize: 256 * 1024, maxHeaderListSize: 16 * 1024 };
const MAX_HEADER_PAIRS = 64;
/** A connection, its TLS and the server's SETTINGS together. */
const CONNECT_TIMEOUT_MS = 10_000;
/** A server that has gone without a word is known by its missing answer to a PING. */
const PING_EVERY_MS = 30_000;
const MESSAGE_BUDGET_MB = 8;
/** Bytes that wait for a server which takes none, beyond the message that has filled its window. */
const MAX_HELD_BYTES = 1024 * 1024;

/** See the head of the file. */
export class GrpcClient {
  readonly #options: GrpcClientOptions;
  #session: Session | undefined;
  #closed = false;

  constructor(options: GrpcClientOptions) {
    this.#options = options;
  }

  /** Calls a method that answers with one message, which it returns; whatever else happens is the `CallEnd`. */
  async unary(call: GrpcCall, deadlineMs: number): Promise<Buffer | CallEnd> {
    let answer: Buffer | undefined;
    let answers = 0;
    const onMessage = (message: Buffer): void => {
      answer = message;
      answers += 1;
    };
    const stream = this.#open(call, { onMessage }, deadlineMs);
    const end = await stream.ended;
    if (end.status !== GRPC.ok) return end;
    return answers === 1 && answer !== undefined
      ? answer
      : new CallEnd(GRPC.internal, `${answers} messages where one was due`);
  }

  /** Calls a method that answers with a stream of messages; it has no deadline, but a dead connection ends it. */
  stream(call: GrpcCall, onMessage: (message: Buffer) => void): GrpcStream {
    return this.#open(call, { onMessage }, undefined);
  }

  /** Calls a method with messages both ways; it has no deadline, but a dead connection ends it. */
  duplex(opening: GrpcOpening, events: DuplexEvents): GrpcDuplex {
    return this.#open(opening, events, undefined);
  }

  /** Ends the session, so that the next call opens another: what it was opened with has changed. */
  reset(): void {
    this.#session?.end(new CallEnd(GRPC.cancelled, "the connection was given up"));
    this.#session = undefined;
  }

  /** Ends all calls. */
  close(): void {
    this.#closed = true;
    this.reset();
  }

  #open(call: GrpcCall | GrpcOpening, events: CallEvents, deadlineMs: number | undefined): GrpcDuplex {
    if (this.#closed) {
      const ended = Promise.resolve(new CallEnd(GRPC.cancelled, "the client is closed"));
      return { ended, cancel: () => undefined, send: () => false, finish: () => undefined };
    }
    if (this.#session === undefined || this.#session.over) this.#session = new Session(this.#options);
    return new Call(this.#options, this.#session, call, events, deadlineMs);
  }
}

/** One HTTP/2 session; calls that it carries end with it. */
class Session {
  readonly http2: ClientHttp2Session;
  readonly #socket: Duplex;
  readonly #pings: Timer;
  readonly #connecting: Timer;
  readonly #calls = new Set<Call>();
  #answered = true;
  #why: CallEnd | undefined;

  constructor({ dial, authority, secure, clock }: GrpcClientOptions) {
    this.#socket = dial();
    this.http2 = connect(`${secure ? "https" : "http"}://${authority}`, {
      createConnection: () => this.#socket,
      settings: SETTINGS,
      maxHeaderListPairs: MAX_HEADER_PAIRS,
      maxSessionMemory: MESSAGE_BUDGET_MB,
    });
    // The runtime wants both; what they tell is kept here, for they may come in either order.
    this.#socket.on("error", (error) => this.#note(error));
    this.http2.on("error", (error) => this.#note(error));
    this.http2.on("goaway", () => (this.#why ??= new CallEnd(GRPC.unavailable, "the server is going away")));
    this.http2.on("close", () => this.end(new CallEnd(GRPC.unavailable, "the connection was closed")));
    this.#connecting = clock.after(CONNECT_TIMEOUT_MS, () =>
      this.end(new CallEnd(GRPC.unavailable, "the server did not answer in time")),
    );
    this.http2.once("remoteSettings", () => this.#connecting.cancel());
    this.#pings = clock.every(PING_EVERY_MS, () => this.#ping());
  }

  /** Why it is over, or soon will be. */
  get why(): CallEnd | undefined {
    return this.#why;
  }

  /** Whether no new call can begin. */
  get over(): boolean {
    return this.#why !== undefined || this.http2.closed || this.http2.destroyed;
  }

  add(call: Call): void {
    this.#calls.add(call);
  }

  /** Without calls nothing holds the session, but it stays for the next. */
  remove(call: Call): void {
    this.#calls.delete(call);
  }

  end(why: CallEnd): void {
    this.#why ??= why;
    this.#connecting.cancel();
    this.#pings.cancel();
    for (const call of this.#calls) call.end(this.#why);
    this.#calls.clear();
    if (!this.http2.destroyed) this.http2.destroy();
    this.#socket.destroy();
  }

  #note(error: Error): void {
    this.#why ??= new CallEnd(GRPC.unavailable, error.message);
  }

  #ping(): void {
    if (this.http2.destroyed || this.http2.connecting) return;
    if (!this.#answered) return this.end(new CallEnd(GRPC.unavailable, "the server no longer answers"));
    this.#answered = false;
    this.http2.ping(() => (this.#answered = true));
  }
}

type CallEvents = Pick<DuplexEvents, "onMessage"> & Partial<DuplexEvents>;

/** One call on its stream. */
class Call implements GrpcDuplex {
  readonly ended: Promise<CallEnd>;
  readonly #session: Session;
  readonly #settle: (end: CallEnd) => void;
  readonly #events: CallEvents;
  readonly #deframer: Deframer;
  #stream: ClientHttp2Stream | undefined;
  #deadline: Timer | undefined;
  #told: CallEnd | undefined;
  #over = false;

  constructor(
    { maxMessageBytes, clock, authority }: GrpcClientOptions,
    session: Session,
    call: GrpcCall | GrpcOpening,
    events: CallEvents,
    deadlineMs: number | undefined,
  ) {
    const { promise, resolve } = Promise.withResolvers<CallEnd>();
    this.ended = promise;
    this.#settle = resolve;
    this.#session = session;
    this.#events = events;
    this.#deframer = new Deframer(maxMessageBytes);
    session.add(this);
    if (deadlineMs !== undefined) {
      this.#deadline = clock.after(deadlineMs, () =>
        this.end(new CallEnd(GRPC.deadlineExceeded, `no answer within ${deadlineMs} ms`)),
      );
    }
    try {
      this.#stream = session.http2.request({
        ...call.metadata,
        ":method": "POST",
        ":path": call.method,
        ":authority": authority,
        "content-type": call.contentType ?? "application/grpc+proto",
        te: "trailers",
        ...(deadlineMs === undefined ? {} : { "grpc-timeout": `${Math.ceil(deadlineMs)}m` }),
      });
    } catch (error) {
      // A session that has ended in this very turn, or metadata that no header field can carry.
      this.end(new CallEnd(GRPC.unavailable, error instanceof Error ? error.message : "no stream"));
      return;
    }
    this.#listen(this.#stream);
    if ("message" in call) this.#stream.end(framed(call.message));
  }

  send(message: Uint8Array): boolean {
    const stream = this.#stream;
    if (this.#over || stream === undefined || stream.writableEnded) return false;
    if (stream.writableNeedDrain && stream.writableLength + message.length > MAX_HELD_BYTES) {
      this.end(new CallEnd(GRPC.resourceExhausted, "the server takes no messages"));
      return false;
    }
    return stream.write(framed(message));
  }

  finish(): void {
    if (!this.#over) this.#stream?.end();
  }

  cancel(): void {
    this.end(new CallEnd(GRPC.cancelled, "cancelled here"));
  }

  end(end: CallEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#deadline?.cancel();
    this.#session.remove(this);
    this.#stream?.close(constants.NGHTTP2_CANCEL);
    this.#settle(end);
  }

  #listen(stream: ClientHttp2Stream): void {
    // What went wrong is known by the status, the reset code or the session.
    stream.on("error", () => undefined);
    stream.on("response", (headers: ResponseFields) => {
      // A response that is headers only carries its status there.
      this.#told = endOf(headers);
      const refusal = refusalOf(headers);
      if (refusal !== undefined) this.end(this.#told ?? refusal);
    });
    stream.on("trailers", (trailers: ResponseFields) => (this.#told = endOf(trailers) ?? this.#told));
    stream.on("data", (chunk: Buffer) => this.#read(chunk));
    stream.on("drain", () => this.#events.onDrain?.());
    // Once the server has ended it, there is nobody to whom a stream that is still open here could say anything.
    stream.on("end", () => stream.writableEnded || this.#close(stream));
    stream.on("close", () => this.#close(stream));
  }

  #close(stream: ClientHttp2Stream): void {
    if (this.#told !== undefined && this.#deframer.held > 0 && this.#told.status === GRPC.ok) {
      return this.end(new CallEnd(GRPC.internal, "the last message was cut"));
    }
    this.end(this.#told ?? this.#session.why ?? endOfReset(stream.rstCode ?? constants.NGHTTP2_NO_ERROR));
  }

  #read(chunk: Buffer): void {
    if (this.#over) return;
    const messages = this.#deframer.take(chunk);
    if (messages instanceof CallEnd) return this.end(messages);
    for (const message of messages) if (!this.#over) this.#events.onMessage(message);
  }
}
