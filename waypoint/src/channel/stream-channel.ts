// Machine. A stream of an HTTP/2 tunnel as a byte channel.
import type { Http2Stream } from "node:http2";
import { type Failure, type FailureCode, fail, RESET_NO_ERROR, RESET_CANCEL } from "@culvert/shared/failure/failure.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import { isWholeEnd, wasEndedByPeer, watchEnd } from "@culvert/shared/tunnel/whole-end.ts";
import type { ByteChannel, ByteSink } from "./channel.ts";

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
    watchEnd(stream);
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
    // After our END_STREAM nothing is left that could look whole and is not: RFC 9113 section 8.1 lets go without an error.
    const code = this.#ended && failure === undefined ? RESET_NO_ERROR : (failure?.traits.resetCode ?? RESET_CANCEL);
    resetStream(this.#stream, code);
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
    if (wasEndedByPeer(this.#stream)) this.#endSeen = true;
  }

  #onEnd(): void {
    // What was whole before an abortion stays whole.
    if (!this.#endSeen && !isWholeEnd(this.#stream)) return;
    this.#endSeen = true;
    this.#sink?.onEnd();
  }

  #onClose(): void {
    const sink = this.#sink;
    this.#closed = true;
    if (sink === undefined) return;
    this.#sink = undefined;
    const code = this.#stream.rstCode;
    if (code !== undefined && code !== RESET_NO_ERROR) sink.onClose(fail(this.#resetCode, `reset with code ${code}`));
    else
      sink.onClose(this.#endSeen && this.#ended ? undefined : fail(this.#lostCode, "the stream closed before its end"));
  }
}
