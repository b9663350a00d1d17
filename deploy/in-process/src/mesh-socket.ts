// Machine. A connection of the mesh as the application has it: a `Duplex` with what libraries expect of a `net.Socket`, and who the peer is.
import type { Http2Session, Http2Stream } from "node:http2";
import { Duplex } from "node:stream";
import { fail, RESET_CANCEL, type Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { ipFamily } from "@culvert/shared/net/ip.ts";
import type { Ended, Pump } from "@culvert/shared/tunnel/pump.ts";
import { endedFor } from "@culvert/shared/tunnel/session-end.ts";
import { StreamEnd, type Taken } from "@culvert/shared/tunnel/stream-end.ts";
import type { ClientAnswer, OutboundClient } from "@culvert/uproxy/outbound/outbound.ts";
import { BulkEnd } from "./bulk-end.ts";
import { MeshError } from "./errors.ts";

/** One end of the connection, below it. */
interface End {
  readonly ended: boolean;
  read(): void;
  write(chunk: Buffer | string, encoding: BufferEncoding, taken: Taken): void;
  end(taken: Taken): void;
  reset(code: number): void;
  leave(clock: Clock): void;
}

/** What a socket is made with. */
export interface MeshSocketOptions {
  readonly clock: Clock;
  /** The one who opened the connection: we do, or a caller did. */
  readonly direction: "outbound" | "inbound";
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** Version of the own identity under which it began. */
  readonly identityVersion: number;
}

/**
 * A connection of the mesh. Like a `net.Socket` it is `connecting` until "connect", ends each direction on its own, tells a reset
 * as an error, and has time-outs; an error that nobody listens for ends the connection and nothing else. Errors are `MeshError`s.
 */
export class MeshSocket extends Duplex implements OutboundClient, ClientAnswer, Pump {
  /** The SPIFFE ID that the other end of the tunnel has proved; `undefined` while connecting, and where no mesh is. */
  peer: SpiffeId | undefined;
  connecting: boolean;
  /** Milliseconds; 0 is none. */
  timeout = 0;
  readonly identityVersion: number;
  /** Where the connection comes from, for the log. */
  readonly source = "in-process";
  readonly remote: Endpoint;
  /** How it ended; never rejects. */
  readonly ended: Promise<Ended>;
  /** Bytes that the application wrote, and that it was given. */
  fromSocket = 0;
  toSocket = 0;
  readonly #clock: Clock;
  readonly #local: Endpoint;
  readonly #direction: "outbound" | "inbound";
  #end: End | undefined;
  #stream: Http2Stream | undefined;
  #session: Http2Session | undefined;
  #wantsRead = false;
  #waiting: (() => void) | undefined;
  #failure: Failure | undefined;
  #finish: (ended: Ended) => void = () => undefined;
  #timer: Timer | undefined;
  #movedMs = 0;
  #onBytes: (() => void) | undefined;

  constructor({ clock, direction, local, remote, identityVersion }: MeshSocketOptions) {
    super({ allowHalfOpen: true });
    this.#clock = clock;
    this.#direction = direction;
    this.#local = local;
    this.remote = remote;
    this.identityVersion = identityVersion;
    this.connecting = direction === "outbound";
    this.ended = new Promise((resolve) => (this.#finish = resolve));
    this.on("error", ignore);
  }

  get remoteAddress(): string {
    return this.remote.ip;
  }

  get remotePort(): number {
    return this.remote.port;
  }

  get remoteFamily(): string {
    return `IPv${ipFamily(this.remote.ip)}`;
  }

  get localAddress(): string {
    return this.#local.ip;
  }

  get localPort(): number {
    return this.#local.port;
  }

  get bytesRead(): number {
    return this.toSocket;
  }

  get bytesWritten(): number {
    return this.fromSocket;
  }

  get readyState(): "opening" | "open" | "readOnly" | "writeOnly" | "closed" {
    if (this.connecting) return "opening";
    if (this.readable) return this.writable ? "open" : "readOnly";
    return this.writable ? "writeOnly" : "closed";
  }

  /** Emits "timeout" after so many milliseconds without a byte; 0 switches it off. The connection stays. */
  setTimeout(timeoutMs: number, listener?: () => void): this {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.timeout = timeoutMs;
    if (timeoutMs > 0) {
      if (listener !== undefined) this.once("timeout", listener);
      this.#movedMs = this.#clock.monotonic();
      this.#watch(timeoutMs);
    } else if (listener !== undefined) this.off("timeout", listener);
    return this;
  }

  /** For libraries that ask for it; tunnels neither wait for more bytes nor go unwatched. */
  setNoDelay(): this {
    return this;
  }

  /** For libraries that ask for it: the session below is watched by PING. */
  setKeepAlive(): this {
    return this;
  }

  /** For libraries that ask for it: what keeps the process alive is the session below. */
  ref(): this {
    return this;
  }

  /** For libraries that ask for it. */
  unref(): this {
    return this;
  }

  /** Ends it once everything that was written is on its way. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once("finish", () => this.destroy());
  }

  /** Resets the connection: the other side is told that it was cut short. */
  resetAndDestroy(): this {
    this.#failure ??= this.#ownFailure("reset by the application");
    return this.destroy();
  }

  // What opens, carries and watches it.

  /** Calls `run` once, before the next bytes are given to the application. */
  onNextBytes(run: () => void): void {
    this.#onBytes = run;
  }

  granted(): void {
    this.connecting = false;
  }

  refused(failure: Failure): void {
    this.abort(failure);
  }

  abort(failure: Failure): void {
    this.#failure ??= failure;
    this.destroy(new MeshError(failure));
  }

  /** Stands on a tunnel from now on. */
  overTunnel(stream: Http2Stream, peer: SpiffeId): this {
    this.peer = peer;
    this.#stream = stream;
    this.#session = stream.session;
    const end = new StreamEnd(stream, this, () => this.abort(this.#streamFailure()));
    if (stream.destroyed) {
      this.#end = end;
      this.abort(this.#streamFailure());
      return this;
    }
    return this.#over(end);
  }

  /** Stands on a plain connection from now on. */
  overPlain(bulk: BulkSocket): this {
    return this.#over(new BulkEnd(bulk, this, () => this.abort(fail("APP_RESET", "the connection was cut short"))));
  }

  override push(chunk: Buffer | null): boolean {
    if (chunk !== null) {
      this.toSocket += chunk.length;
      if (this.#timer !== undefined) this.#movedMs = this.#clock.monotonic();
      const onBytes = this.#onBytes;
      this.#onBytes = undefined;
      onBytes?.();
    }
    return super.push(chunk);
  }

  override _read(): void {
    if (this.#end === undefined) this.#wantsRead = true;
    else this.#end.read();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, taken: Taken): void {
    if (this.#end === undefined) {
      this.#waiting = () => this._write(chunk, encoding, taken);
      return;
    }
    this.fromSocket += chunk.length;
    if (this.#timer !== undefined) this.#movedMs = this.#clock.monotonic();
    this.#end.write(chunk, encoding, taken);
  }

  override _final(taken: Taken): void {
    if (this.#end === undefined) this.#waiting = () => this._final(taken);
    else this.#end.end(taken);
  }

  override _destroy(error: Error | null, done: Taken): void {
    this.#timer?.cancel();
    this.connecting = false;
    const end = this.#end;
    if (error !== null) this.#failure ??= this.#ownFailure(error.message);
    const cut =
      this.#failure ??
      (this.writableLength > 0 || this.readableLength > 0 ? this.#ownFailure("closed early") : undefined);
    if (end !== undefined && !(end.ended && this.writableFinished)) {
      if (cut === undefined) end.leave(this.#clock);
      else end.reset(cut.traits.resetCode);
    }
    this.#finish({ fromSocket: this.fromSocket, toSocket: this.toSocket, failure: cut });
    done(error);
  }

  #over(end: End): this {
    this.#end = end;
    if (this.#wantsRead) end.read();
    this.#waiting?.();
    this.#waiting = undefined;
    // Not from here: an application that throws in its listener must not meet us on the stack.
    if (this.#direction === "outbound") process.nextTick(() => this.destroyed || this.emit("connect"));
    return this;
  }

  #watch(delayMs: number): void {
    this.#timer = this.#clock.after(delayMs, () => {
      const leftMs = this.#movedMs + this.timeout - this.#clock.monotonic();
      if (leftMs > 0) return this.#watch(leftMs);
      this.#timer = undefined;
      this.emit("timeout");
    });
  }

  /** The application has ended it before its time. */
  #ownFailure(detail: string): Failure {
    return fail(this.#direction === "outbound" ? "DOWNSTREAM_CLOSED" : "APP_RESET", detail);
  }

  /** The stream went before it was over. */
  #streamFailure(): Failure {
    const reason = endedFor(this.#session);
    if (reason !== undefined) return reason;
    const lost = this.#session === undefined || this.#session.destroyed;
    const code = this.#stream?.rstCode ?? RESET_CANCEL;
    const detail = lost ? "the session ended" : `the stream was reset with code ${code}`;
    if (this.#direction === "inbound") return fail("DOWNSTREAM_CLOSED", detail);
    return fail(lost ? "PEER_LOST" : "PEER_RESET", detail);
  }
}

function ignore(): void {}
