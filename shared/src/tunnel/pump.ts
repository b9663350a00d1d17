// Machine. Carries one application connection between a TCP socket and a tunnel stream: bytes with backpressure, half-close
// and reset, both ways. Built for bulk (see `net/bulk-socket.ts` and `flush.ts`), with no allocation of its own per chunk.
//
// What ends a connection, and what the other side sees of it:
//   FIN                        ->  END_STREAM             the direction is over, the other one goes on
//   RST of TCP                 ->  RST_STREAM(CONNECT_ERROR), RFC 9113 section 8.5
//   END_STREAM                 ->  FIN
//   RST_STREAM, session lost   ->  RST of TCP             unless the peer's bytes were whole and it only stops reading
import type { Http2Session, Http2Stream } from "node:http2";
import type { Socket } from "node:net";
import { fail, RESET_NO_ERROR, RESET_CANCEL, RESET_CONNECT_ERROR } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { BulkSocket, ByteSink } from "../net/bulk-socket.ts";
import type { Clock } from "../net/clock.ts";
import { deadlinesOf } from "../net/deadlines.ts";
import type { Deadline } from "../net/deadlines.ts";
import { keepSpecimen, processMemory } from "../net/memory.ts";
import { releaseSlab } from "../net/slabs.ts";
import { Gatherer } from "./flush.ts";
import { DEFAULT_TUNNEL_LIMITS } from "./limits.ts";
import { resetStream } from "./reset-stream.ts";
import { stalledTunnels } from "./stalled.ts";
import { endedFor } from "./session-end.ts";
import { isWholeEnd, wasEndedByPeer, watchEnd } from "./whole-end.ts";

/** What a queued chunk costs beside its bytes: bounds the number of one-byte chunks. */
const CHUNK_OVERHEAD = 256;
/** Entries of the queue that are over before they are cut off its front. */
const CUT_AT = 64;

/** How a pump ended. Byte counts are payload. */
export interface Ended {
  readonly fromSocket: number;
  readonly toSocket: number;
  /** `undefined` when both directions ended in order. */
  readonly failure: Failure | undefined;
}

export interface PumpOptions {
  readonly clock: Clock;
  /**
   * Where the stream leads: `upstream` if we opened the tunnel and the socket is the caller's, `downstream` if we accepted
   * it and the socket is the application's. Failures are named by it.
   */
  readonly streamLeads: "upstream" | "downstream";
  readonly halfClosedIdleMs?: number;
  /** Bytes given to the stream and not yet taken by the session, at which reading pauses. */
  readonly streamQueue?: number;
}

/** A running pump. The counts are live. */
export interface Pump {
  readonly fromSocket: number;
  readonly toSocket: number;
  readonly ended: Promise<Ended>;
  /** Ends both sides at once: RST_STREAM with the failure's reset code, and a TCP reset. */
  abort(failure: Failure): void;
}

/** Starts to carry. Takes over both sides in whatever state they are by now: ended, reset or closed. */
export function pump(socket: BulkSocket, stream: Http2Stream, options: PumpOptions): Pump {
  return new RunningPump(socket, stream, options);
}

class RunningPump implements Pump, ByteSink {
  fromSocket = 0;
  toSocket = 0;
  readonly ended: Promise<Ended>;

  readonly #bulk: BulkSocket;
  readonly #socket: Socket;
  readonly #stream: Http2Stream;
  #session: Http2Session | undefined;
  readonly #options: PumpOptions;
  readonly #gatherer: Gatherer;
  readonly #queueLimit: number;
  readonly #finish: (ended: Ended) => void;

  /** Chunks given to the stream and not yet taken by the session, oldest first from `#oldest` on. */
  #slabs: (Buffer | undefined)[] = [];
  #sizes: number[] = [];
  #oldest = 0;
  #queued = 0;
  #paused = false;

  #failure: Failure | undefined;
  #socketEnded = false;
  #streamEnded = false;
  #socketClosed = false;
  #streamClosed = false;
  #stalled = false;
  #halfClosed: Deadline | undefined;

  constructor(bulk: BulkSocket, stream: Http2Stream, options: PumpOptions) {
    this.#bulk = bulk;
    this.#socket = bulk.socket;
    this.#stream = stream;
    this.#session = stream.session;
    this.#options = options;
    this.#gatherer = new Gatherer(bulk.socket, () => this.#onDrain());
    this.#queueLimit = options.streamQueue ?? DEFAULT_TUNNEL_LIMITS.streamQueue;
    const { promise, resolve } = Promise.withResolvers<Ended>();
    this.ended = promise;
    this.#finish = resolve;

    if (stream.listenerCount("error") === 0) stream.on("error", () => {});
    if (stream.destroyed) {
      // Whoever closed it before we came: nothing of it can be read any more.
      this.#onStreamClose();
    } else {
      stream.on("aborted", () => this.#onAborted());
      stream.on("end", () => this.#onStreamEnd());
      stream.on("close", () => this.#onStreamClose());
      stream.on("data", (chunk: Buffer) => this.#onData(chunk));
      watchEnd(stream);
      if (stream.readableEnded) this.#onStreamEnd();
    }
    bulk.setSink(this);
    bulk.resume();
  }

  abort(failure: Failure): void {
    if (this.#socketClosed && this.#streamClosed) return;
    this.#failure ??= failure;
    resetStream(this.#stream, failure.traits.resetCode);
    this.#bulk.reset();
  }

  // Socket to stream.

  onBytes(chunk: Buffer, slab: Buffer | undefined): boolean {
    if (this.#stream.closed) {
      if (slab !== undefined) releaseSlab(slab);
      return true;
    }
    const size = chunk.length + CHUNK_OVERHEAD;
    this.fromSocket += chunk.length;
    this.#queued += size;
    this.#slabs.push(slab);
    this.#sizes.push(size);
    this.#stream.write(chunk, this.#onTaken);
    if (this.#queued < this.#queueLimit) return true;
    this.#paused = true;
    return false;
  }

  /** The session has taken the oldest chunk, or never will: the stream calls this once for each, in order. */
  readonly #onTaken = (): void => {
    const oldest = this.#oldest++;
    const slab = this.#slabs[oldest];
    // The session of a destroyed stream may still hold the bytes for a frame: such a slab is left to the collector.
    if (slab !== undefined && !this.#stream.destroyed) releaseSlab(slab);
    this.#queued -= this.#sizes[oldest] ?? 0;
    if (this.#oldest === this.#sizes.length || this.#oldest === CUT_AT) {
      this.#slabs.splice(0, this.#oldest);
      this.#sizes.splice(0, this.#oldest);
      this.#oldest = 0;
    }
    if (this.#paused && this.#queued <= this.#queueLimit / 2) {
      this.#paused = false;
      this.#bulk.resume();
    }
  };

  onEnd(): void {
    this.#socketEnded = true;
    this.#stream.end();
    this.#watchHalfClosed();
  }

  onClose(failure: Failure | undefined): void {
    this.#socketClosed = true;
    if (!this.#streamClosed) {
      const whole = failure === undefined && this.#socketEnded && this.#streamEnded;
      if (!whole) {
        this.#failure ??= this.#socketFailure(failure);
        resetStream(this.#stream, RESET_CONNECT_ERROR);
      }
    }
    this.#settle();
  }

  // Stream to socket.

  #onData(chunk: Buffer): void {
    this.toSocket += chunk.length;
    if (this.#gatherer.write(chunk)) return;
    this.#stream.pause();
    this.#stall(true);
  }

  #onDrain(): void {
    // What waited for a socket that is gone was not taken: the close that follows ends the stream.
    if (this.#socket.destroyed) return;
    this.#stall(false);
    this.#stream.resume();
  }

  #stall(stalled: boolean): void {
    if (this.#stalled === stalled) return;
    this.#stalled = stalled;
    stalledTunnels.count += stalled ? 1 : -1;
  }

  #onStreamEnd(): void {
    if (this.#streamEnded || isWholeEnd(this.#stream)) this.#endSocket();
  }

  #onAborted(): void {
    if (wasEndedByPeer(this.#stream)) this.#streamEnded = true;
  }

  #endSocket(): void {
    this.#streamEnded = true;
    this.#gatherer.flush();
    // The second FIN of a connection that owes the kernel nothing is sent by its close, which spares a system call.
    if (this.#socketEnded && this.#socket.writableLength === 0) this.#socket.destroy();
    else this.#socket.end();
    this.#watchHalfClosed();
  }

  #onStreamClose(): void {
    if (this.#streamClosed) return;
    this.#streamClosed = true;
    this.#stall(false);
    this.#gatherer.flush();
    if (!this.#socketClosed) this.#closeSocket();
    this.#settle();
  }

  #closeSocket(): void {
    const stream = this.#stream;
    const code = stream.rstCode ?? RESET_NO_ERROR;
    const peerStopped = code === RESET_NO_ERROR || code === RESET_CANCEL;
    if (this.#failure === undefined && this.#streamEnded && peerStopped) {
      // Whole from the peer. If it reads no more while the socket still has something to say, the socket is told by the
      // kernel as with any peer that has closed.
      if (!this.#socket.writableEnded) this.#socket.end();
      if (!this.#socketEnded || !stream.writableFinished) this.#socket.destroySoon();
      return;
    }
    this.#failure ??= this.#streamFailure(code);
    this.#bulk.reset();
  }

  // Both.

  #settle(): void {
    if (!this.#socketClosed || !this.#streamClosed) return;
    this.#halfClosed?.cancel();
    this.#session = undefined;
    processMemory.connectionEnded();
    if (this.#failure === undefined) keepSpecimen(this.#options.streamLeads, this);
    this.#finish({ fromSocket: this.fromSocket, toSocket: this.toSocket, failure: this.#failure });
  }

  /** One direction has ended: the other may be silent for long, but not for ever. */
  #watchHalfClosed(): void {
    if (this.#socketEnded === this.#streamEnded) {
      this.#halfClosed?.cancel();
      return;
    }
    const idleMs = this.#options.halfClosedIdleMs ?? DEFAULT_TUNNEL_LIMITS.halfClosedIdleMs;
    const moved = this.fromSocket + this.toSocket;
    this.#halfClosed = deadlinesOf(this.#options.clock, idleMs).after(() => {
      if (this.fromSocket + this.toSocket !== moved) this.#watchHalfClosed();
      else this.abort(fail("DOWNSTREAM_CLOSED", `half-closed and silent for ${idleMs} ms`));
    });
  }

  #socketFailure(failure: Failure | undefined): Failure {
    const detail = failure?.detail ?? "closed before its end";
    return fail(this.#options.streamLeads === "upstream" ? "DOWNSTREAM_CLOSED" : "APP_RESET", detail);
  }

  #streamFailure(code: number): Failure {
    const reason = endedFor(this.#session);
    if (reason !== undefined) return reason;
    const lost = this.#session === undefined || this.#session.destroyed;
    const detail = lost ? "the session ended" : `the stream was reset with code ${code}`;
    if (this.#options.streamLeads === "downstream") return fail("DOWNSTREAM_CLOSED", detail);
    return fail(lost ? "PEER_LOST" : "PEER_RESET", detail);
  }
}
