// Machine. One call of the configuration stream on the wire: frames both ways, one message at a time on its way out, and the end with
// gRPC's status in the trailers.
import type { ServerHttp2Stream } from "node:http2";
import type { ClientFrame } from "@culvert/shared/config/stream/frames.ts";
import { CONFIG_STREAM_TYPE, decodeClientFrame, FRAME_LIMITS } from "@culvert/shared/config/stream/frames.ts";
import { fail, RESET_CANCEL } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { Deframer, framed } from "@culvert/shared/grpc/framing.ts";
import { CallEnd, GRPC } from "@culvert/shared/grpc/status.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import { TokenBucket } from "@culvert/shared/net/token-bucket.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import type { AuthorityLimits } from "../serve/authority-limits.ts";

/** How long the trailers may take to leave before the stream is reset. */
const FAREWELL_MS = 5_000;
const NO_ERROR = 0;

/** What all lines together hold of messages that have begun. */
export class HeldBytes {
  total = 0;
}

/** See the head of the file. */
export class ConfigLine {
  /** Told of each frame of the client. */
  onFrame: (frame: ClientFrame) => void = () => undefined;
  /** What the client sends is none, or it does not send what is due. */
  onBroken: (failure: Failure) => void = () => undefined;
  readonly #stream: ServerHttp2Stream;
  readonly #clock: Clock;
  readonly #limits: AuthorityLimits;
  readonly #frames = new Deframer(FRAME_LIMITS.clientBytes);
  readonly #messages: TokenBucket;
  #queue: Uint8Array[] = [];
  #isBlocked = false;
  #isOver = false;
  #due: Timer | undefined;
  readonly #held: HeldBytes;
  /** Bytes of the message that has begun. */
  #begun = 0;

  constructor(stream: ServerHttp2Stream, clock: Clock, limits: AuthorityLimits, held: HeldBytes) {
    this.#held = held;
    this.#stream = stream;
    this.#clock = clock;
    this.#limits = limits;
    this.#messages = new TokenBucket(clock, limits.messageBurst, limits.messagesPerSecond);
    stream.once("close", () => {
      this.#isOver = true;
      this.#queue = [];
      this.#due?.cancel();
      this.#count(0);
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Answers the head, and reads from now on; the first frame is due. */
  start(): void {
    const stream = this.#stream;
    if (this.#isOver || stream.destroyed) return;
    stream.respond({ ":status": 200, "content-type": CONFIG_STREAM_TYPE }, { waitForTrailers: true });
    this.#arm();
    stream.on("data", (chunk: Buffer) => this.#take(chunk));
    stream.on("drain", () => {
      this.#isBlocked = false;
      this.#write();
    });
    stream.once("end", () => this.end(undefined));
  }

  /** Sends messages one after another, each when there is room for it. */
  send(messages: readonly Uint8Array[]): void {
    if (this.#isOver) return;
    this.#queue.push(...messages);
    this.#write();
  }

  /** Ends the call: in order, or with the status of a failure. Nothing follows. */
  end(failure: Failure | undefined): void {
    const stream = this.#stream;
    if (this.#isOver) return;
    this.#isOver = true;
    this.#queue = [];
    this.#due?.cancel();
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

  #take(chunk: Buffer): void {
    if (this.#isOver) return;
    this.#count(this.#begun + chunk.length);
    if (this.#held.total > this.#limits.maxHeldBytes) return this.onBroken(fail("RATE_EXCEEDED", "large messages"));
    const messages = this.#frames.take(chunk);
    if (messages instanceof CallEnd) return this.onBroken(fail("REQUEST_TOO_LARGE", messages.detail));
    if (messages.length > 0) this.#count(0);
    for (const message of messages) {
      if (this.#isOver) return;
      if (!this.#messages.take()) return this.onBroken(fail("RATE_EXCEEDED", "messages come too often"));
      const frame = decodeClientFrame(message);
      if (typeof frame === "string") return this.onBroken(fail("MISBEHAVING_PEER", frame));
      this.onFrame(frame);
      this.#due?.cancel();
    }
    if (messages.length > 0 && this.#frames.inMessage) this.#arm();
  }

  #count(begun: number): void {
    this.#held.total += begun - this.#begun;
    this.#begun = begun;
  }

  /** A message that has begun comes to its end in time, and the first one comes at all. */
  #arm(): void {
    this.#due?.cancel();
    const { requestMs } = this.#limits;
    this.#due = this.#clock.after(requestMs, () => {
      this.onBroken(fail("MISBEHAVING_PEER", `no whole message in ${requestMs / 1000} s`));
    });
  }

  #write(): void {
    while (!this.#isBlocked && !this.#isOver) {
      const message = this.#queue.shift();
      if (message === undefined) return;
      this.#isBlocked = !this.#stream.write(framed(message));
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
