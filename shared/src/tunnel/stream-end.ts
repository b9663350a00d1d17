// Machine. Our end of a tunnel stream, below a `Duplex` that stands for it: bytes with backpressure, half-closes, and the difference
// between an end and an abortion.
import type { Http2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import { RESET_CANCEL } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { deadlinesOf } from "../net/deadlines.ts";
import { resetStream } from "./reset-stream.ts";
import { isWholeEnd, wasEndedByPeer, watchEnd } from "./whole-end.ts";

/** How long the peer of an owner that has gone has to end its direction. */
const LINGER_MS = 30_000;

/** What a writer is told once its bytes are taken. */
export type Taken = (error?: Error | null) => void;

/** See the head of the file. */
export class StreamEnd {
  readonly #stream: Http2Stream;
  readonly #owner: Duplex;
  #ended = false;

  /**
   * Nothing is read before `read()`. Of a stream that is already destroyed nothing is heard: its owner is to be destroyed.
   *
   * @param owner is pushed what comes, and `null` at the peer's END_STREAM
   * @param onLost called when the stream is gone before it was over
   */
  constructor(stream: Http2Stream, owner: Duplex, onLost: () => void) {
    this.#stream = stream;
    this.#owner = owner;
    stream.on("error", () => {});
    if (stream.destroyed) return;
    watchEnd(stream);
    stream.on("aborted", () => {
      if (wasEndedByPeer(stream)) this.#end();
    });
    stream.on("end", () => {
      if (isWholeEnd(stream)) this.#end();
    });
    stream.on("close", () => {
      // The runtime finishes a stream that the peer has reset: whether there was more to write, its owner knows.
      if (!this.#ended || !stream.writableFinished || !owner.writableEnded) onLost();
    });
    stream.on("data", (chunk: Buffer) => {
      if (!owner.push(chunk)) stream.pause();
    });
    stream.pause();
  }

  /** Whether the peer has ended its direction. */
  get ended(): boolean {
    return this.#ended;
  }

  read(): void {
    this.#stream.resume();
  }

  write(chunk: Buffer | string, encoding: BufferEncoding, taken: Taken): void {
    this.#stream.write(chunk, encoding, taken);
  }

  /** Ends our direction after everything written. */
  end(taken: Taken): void {
    this.#stream.end(taken);
  }

  /** Ends both directions at once with a code (RFC 9113 section 7); a stream that is over stays as it is. */
  reset(code: number): void {
    if (!this.#ended || !this.#owner.writableFinished) resetStream(this.#stream, code);
  }

  /**
   * Our owner goes, in order, as `close(2)` has it for TCP: END_STREAM follows what was written, and a peer that sends anything more
   * is answered by a reset. What has come and was not read is such a thing.
   */
  leave(clock: Clock): void {
    const stream = this.#stream;
    if (stream.readableLength > 0 || stream.closed) return this.reset(RESET_CANCEL);
    stream.removeAllListeners("data");
    stream.on("data", () => resetStream(stream, RESET_CANCEL));
    const deadline = deadlinesOf(clock, LINGER_MS).after(() => resetStream(stream, RESET_CANCEL));
    stream.on("close", () => deadline.cancel());
    stream.end();
    stream.resume();
  }

  #end(): void {
    if (this.#ended || this.#owner.destroyed) return;
    this.#ended = true;
    this.#owner.push(null);
  }
}
