// Machine. A stream of an HTTP/2 tunnel as a byte channel.
import { constants, type Http2Stream } from "node:http2";
import { type Failure, type FailureCode, fail } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel, ByteSink } from "./channel.ts";

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = constants;

/** The runtime destroys a stream that the peer has reset at its 'end', and listens for that only then. */
function hasOwnEndListener(stream: Http2Stream): boolean {
  const { destroy } = stream as { readonly destroy: (this: void) => void };
  return stream.listenerCount("end", destroy) > 0;
}

/**
 * Takes over a stream that nobody else reads from now on; on the server's side after its 200. `leads` says who is at its other
 * end, and so whose failure it is when it breaks.
 */
export function streamChannel(stream: Http2Stream, leads: "downstream" | "upstream"): ByteChannel {
  return leads === "upstream"
    ? new StreamChannel(stream, "PEER_RESET", "PEER_LOST")
    : new StreamChannel(stream, "DOWNSTREAM_CLOSED", "DOWNSTREAM_CLOSED");
}

class StreamChannel implements ByteChannel {
  readonly #stream: Http2Stream;
  readonly #resetCode: FailureCode;
  readonly #lostCode: FailureCode;
  #sink: ByteSink | undefined = undefined;
  #started = false;
  #paused = false;
  #ended = false;
  #endSeen = false;
  #closed = false;

  constructor(stream: Http2Stream, resetCode: FailureCode, lostCode: FailureCode) {
    this.#stream = stream;
    this.#resetCode = resetCode;
    this.#lostCode = lostCode;
    stream.on("error", () => {});
    stream.on("aborted", () => this.#onAborted());
    stream.on("close", () => this.#onClose());
    stream.on("drain", () => this.#sink?.onDrain());
    // A stream that is not read does not tell of its end either, so this costs no bytes before `attach`.
    stream.on("end", () => this.#onEnd());
  }

  get queued(): number {
    return this.#stream.writableLength;
  }

  attach(sink: ByteSink): void {
    this.#sink = sink;
    if (this.#closed || this.#stream.destroyed) {
      this.#onClose();
      return;
    }
    if (this.#endSeen || this.#stream.readableEnded) {
      this.#endSeen = true;
      sink.onEnd();
    }
    if (!this.#started) {
      this.#started = true;
      this.#stream.on("data", (chunk: Buffer) => this.#sink?.onBytes(chunk, false));
    } else if (!this.#paused) this.#stream.resume();
  }

  writeLatin1(text: string): boolean {
    return this.#stream.write(text, "latin1");
  }

  writeBytes(bytes: Uint8Array): boolean {
    return this.#stream.write(bytes);
  }

  end(): void {
    this.#ended = true;
    this.#stream.end();
  }

  reset(failure: Failure | undefined): void {
    const stream = this.#stream;
    if (stream.closed) stream.destroy();
    // After our END_STREAM nothing is left that could look whole and is not: RFC 9113 section 8.1 lets go without an error.
    else if (this.#ended && failure === undefined) stream.close(NGHTTP2_NO_ERROR);
    else stream.close(failure?.traits.resetCode ?? NGHTTP2_CANCEL);
  }

  pause(): void {
    this.#paused = true;
    this.#stream.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#stream.resume();
  }

  #onAborted(): void {
    // The stream is gone before we have ended it. If END_STREAM came just before, the bytes are whole all the same.
    if (this.#stream.state.remoteClose === 1) this.#endSeen = true;
  }

  #onEnd(): void {
    // A reset also reads as an end: by its code, or, without one, by the listener that the runtime then has of its own.
    const stream = this.#stream;
    const reset = stream.closed && (stream.rstCode !== NGHTTP2_NO_ERROR || hasOwnEndListener(stream));
    if (reset && !this.#endSeen) return;
    this.#endSeen = true;
    this.#sink?.onEnd();
  }

  #onClose(): void {
    const sink = this.#sink;
    this.#closed = true;
    if (sink === undefined) return;
    this.#sink = undefined;
    const code = this.#stream.rstCode;
    if (code !== undefined && code !== NGHTTP2_NO_ERROR) sink.onClose(fail(this.#resetCode, `reset with code ${code}`));
    else
      sink.onClose(this.#endSeen && this.#ended ? undefined : fail(this.#lostCode, "the stream closed before its end"));
  }
}
