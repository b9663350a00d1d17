// Machine. One call of the configuration stream on the wire: frames both ways, one message at a time on its way out, and the end with
// gRPC's status in the trailers.
import type { ServerHttp2Stream } from "node:http2";
import type { ClientFrame, PackedUpdate } from "@culvert/shared/config/stream/frames.ts";
import {
  CONFIG_STREAM_TYPE,
  decodeClientFrame,
  encodeUpdate,
  FRAME_LIMITS,
} from "@culvert/shared/config/stream/frames.ts";
import { fail, RESET_CANCEL } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { Deframer, framed } from "@culvert/shared/grpc/framing.ts";
import { CallEnd, GRPC } from "@culvert/shared/grpc/status.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import { TokenBucket } from "@culvert/shared/net/token-bucket.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import type { BegunMessages } from "./begun-messages.ts";

/** How long the trailers may take to leave before the stream is reset. */
const FAREWELL_MS = 5_000;
const NO_ERROR = 0;

/** See the head of the file. */
export class ConfigLine {
  /** Told of each frame of the client. */
  onFrame: (frame: ClientFrame) => void = () => undefined;
  /** What the client sends is none, or it does not send what is due. */
  onBroken: (failure: Failure) => void = () => undefined;
  readonly #stream: ServerHttp2Stream;
  readonly #clock: Clock;
  readonly #limits: AuthorityLimits;
  #frames = new Deframer(FRAME_LIMITS.clientBytes);
  readonly #rate: TokenBucket;
  #queue: PackedUpdate[] = [];
  #isBlocked = false;
  #isOver = false;
  #due: Timer | undefined;
  readonly #begun: BegunMessages<ConfigLine>;

  constructor(stream: ServerHttp2Stream, clock: Clock, limits: AuthorityLimits, begun: BegunMessages<ConfigLine>) {
    this.#begun = begun;
    this.#stream = stream;
    this.#clock = clock;
    this.#limits = limits;
    this.#rate = new TokenBucket(clock, limits.messageBurst, limits.messagesPerSecond);
    stream.once("close", () => {
      this.#isOver = true;
      this.#release();
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether what was given to `send` has all been written. */
  get isIdle(): boolean {
    return this.#queue.length === 0;
  }

  /** Answers the head, and reads from now on; the first frame is due. What is held of messages counts for `holder`. */
  start(holder: string): void {
    const stream = this.#stream;
    if (this.#isOver || stream.destroyed) return;
    stream.respond({ ":status": 200, "content-type": CONFIG_STREAM_TYPE }, { waitForTrailers: true });
    this.#arm();
    stream.on("data", (chunk: Buffer) => this.#take(chunk, holder));
    stream.on("drain", () => {
      this.#isBlocked = false;
      this.#write();
    });
    stream.once("end", () => this.end(undefined));
  }

  /** Sends messages one after another, each made when there is room for it: who reads slowly holds references and no bytes. */
  send(parts: readonly PackedUpdate[]): void {
    if (this.#isOver) return;
    this.#queue.push(...parts);
    this.#write();
  }

  /** Ends the call: in order, or with the status of a failure. Nothing follows. */
  end(failure: Failure | undefined): void {
    const stream = this.#stream;
    if (this.#isOver) return;
    this.#isOver = true;
    this.#release();
    if (stream.closed || stream.destroyed) return;
    stream.removeAllListeners("data");
    stream.resume();
    const { status, detail } = endOf(failure);
    const trailers = { "grpc-status": String(status), ...(detail === "" ? {} : { "grpc-message": encodeURI(detail) }) };
    if (stream.headersSent) {
      stream.once("wantTrailers", () => {
        stream.sendTrailers(trailers);
        // The client's own side need not come to an end by itself.
        setImmediate(() => stream.close(NO_ERROR));
      });
      stream.end();
    } else {
      stream.respond({ ":status": 200, "content-type": CONFIG_STREAM_TYPE, ...trailers }, { endStream: true });
      setImmediate(() => stream.close(NO_ERROR));
    }
    // One that reads nothing takes no trailers either.
    const timer = this.#clock.after(FAREWELL_MS, () => resetStream(stream, RESET_CANCEL));
    stream.once("close", () => timer.cancel());
  }

  #take(chunk: Buffer, holder: string): void {
    if (this.#isOver) return;
    const messages = this.#frames.take(chunk);
    if (messages instanceof CallEnd) return this.onBroken(fail("REQUEST_TOO_LARGE", messages.detail));
    // Of what is whole nothing is kept.
    this.#begun.hold(this, holder, this.#frames.held);
    while (this.#begun.total > this.#limits.maxHeldBytes) {
      const most = this.#begun.most();
      if (most === undefined) break;
      this.#begun.release(most);
      most.onBroken(fail("RATE_EXCEEDED", "large messages"));
    }
    for (const message of messages) {
      if (this.#isOver) return;
      if (!this.#rate.take()) return this.onBroken(fail("RATE_EXCEEDED", "messages come too often"));
      const frame = decodeClientFrame(message);
      if (typeof frame === "string") return this.onBroken(fail("MISBEHAVING_PEER", frame));
      this.onFrame(frame);
      this.#disarm();
    }
    if (this.#isOver) return;
    if (this.#frames.held > 0 && this.#due === undefined) this.#arm();
  }

  /** Nothing is held any longer, in memory or in an account. */
  #release(): void {
    this.#queue = [];
    this.#disarm();
    this.#frames = new Deframer(0);
    this.#begun.release(this);
  }

  #disarm(): void {
    this.#due?.cancel();
    this.#due = undefined;
  }

  /** A message that has begun comes to its end in time, and the first one comes at all. */
  #arm(): void {
    const { requestMs } = this.#limits;
    this.#due = this.#clock.after(requestMs, () => {
      this.onBroken(fail("MISBEHAVING_PEER", `no whole message in ${requestMs / 1000} s`));
    });
  }

  #write(): void {
    while (!this.#isBlocked && !this.#isOver) {
      const part = this.#queue.shift();
      if (part === undefined) return;
      this.#isBlocked = !this.#stream.write(framed(encodeUpdate(part)));
    }
  }
}

/** What the client is told: of its own request in full, of who it is nothing. */
function endOf(failure: Failure | undefined): CallEnd {
  if (failure === undefined) return new CallEnd(GRPC.ok, "");
  switch (failure.code) {
    case "DRAINING":
    case "CONFIGURATION_UNAVAILABLE":
      return new CallEnd(GRPC.unavailable, "not now");
    case "MISBEHAVING_PEER":
    case "REQUEST_TOO_LARGE":
      return new CallEnd(GRPC.invalidArgument, failure.detail);
    case "RATE_EXCEEDED":
      return new CallEnd(GRPC.resourceExhausted, failure.detail);
    case "IMPERSONATION_REFUSED":
      return new CallEnd(GRPC.permissionDenied, "not an instance of that Gateway");
    default:
      return new CallEnd(GRPC.unauthenticated, "not authenticated");
  }
}
