// Machine. A tunnel stream as a plain `Duplex`, for everything that must never get an `Http2Stream`: `node:http` on a raw
// one puts memory of the process on the wire, and TLS inside a tunnel needs resets to be errors.
import type { Http2Stream } from "node:http2";
import { Duplex } from "node:stream";
import { RESET_CANCEL, RESET_CONNECT_ERROR } from "../failure/failure.ts";
import { resetStream } from "./reset-stream.ts";
import { isWholeEnd, wasEndedByPeer } from "./whole-end.ts";

/**
 * Wraps a stream. END_STREAM and `end()` are the half-closes of either direction; a reset or a lost session destroys the
 * duplex with ECONNRESET; `destroy()` of a duplex that is not over resets the stream, with CONNECT_ERROR when it is given an
 * error and CANCEL when not.
 */
export function tunnelDuplex(stream: Http2Stream): Duplex {
  return new TunnelDuplex(stream);
}

class TunnelDuplex extends Duplex {
  readonly #stream: Http2Stream;
  #ended = false;

  constructor(stream: Http2Stream) {
    super({ allowHalfOpen: true });
    this.#stream = stream;
    stream.on("error", () => {});
    if (stream.destroyed) {
      this.destroy(resetError());
      return;
    }
    stream.on("aborted", () => {
      if (wasEndedByPeer(stream)) this.#end();
    });
    stream.on("end", () => {
      if (isWholeEnd(stream)) this.#end();
    });
    stream.on("close", () => {
      if (!this.#ended || !stream.writableFinished) this.destroy(resetError());
    });
    stream.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) stream.pause();
    });
    stream.pause();
  }

  override _read(): void {
    this.#stream.resume();
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#stream.write(chunk, encoding, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#stream.end(callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    if (!this.#ended || !this.writableFinished)
      resetStream(this.#stream, error === null ? RESET_CANCEL : RESET_CONNECT_ERROR);
    callback(error);
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.push(null);
  }
}

function resetError(): NodeJS.ErrnoException {
  return Object.assign(new Error("the tunnel was reset"), { code: "ECONNRESET" });
}
