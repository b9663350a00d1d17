// Machine. A tunnel stream as a plain `Duplex`, for everything that must never get an `Http2Stream`: `node:http` on a raw
// one puts memory of the process on the wire, and TLS inside a tunnel needs resets to be errors.
import type { Http2Stream } from "node:http2";
import { Duplex } from "node:stream";
import { RESET_CANCEL, RESET_CONNECT_ERROR } from "../failure/failure.ts";
import { StreamEnd, type Taken } from "./stream-end.ts";

/**
 * Wraps a stream. END_STREAM and `end()` are the half-closes of either direction; a reset or a lost session destroys the
 * duplex with ECONNRESET; `destroy()` of a duplex that is not over resets the stream, with CONNECT_ERROR when it is given an
 * error and CANCEL when not.
 */
export function tunnelDuplex(stream: Http2Stream): Duplex {
  return new TunnelDuplex(stream);
}

class TunnelDuplex extends Duplex {
  readonly #end: StreamEnd;

  constructor(stream: Http2Stream) {
    super({ allowHalfOpen: true });
    this.#end = new StreamEnd(stream, this, () => this.destroy(resetError()));
    if (stream.destroyed) this.destroy(resetError());
  }

  override _read(): void {
    this.#end.read();
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, taken: Taken): void {
    this.#end.write(chunk, encoding, taken);
  }

  override _final(taken: Taken): void {
    this.#end.end(taken);
  }

  override _destroy(error: Error | null, done: Taken): void {
    this.#end.reset(error === null ? RESET_CANCEL : RESET_CONNECT_ERROR);
    done(error);
  }
}

function resetError(): NodeJS.ErrnoException {
  return Object.assign(new Error("the tunnel was reset"), { code: "ECONNRESET" });
}
