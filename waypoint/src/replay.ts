// Machine. What was sent of a request body, kept as long as it is small so that the request can be sent again.
import type { UpstreamRequest } from "./http/message.ts";

/** The body of one request so far. */
export class Replay {
  readonly #limit: number;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #trailers: string | undefined = undefined;
  #isWhole = true;

  /** @param limit most bytes that are kept; a longer body cannot be sent again */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Everything that was sent is here. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** Bytes were sent; they are copied. */
  keep(bytes: Buffer, start: number, end: number): void {
    if (!this.#isWhole) return;
    this.#bytes += end - start;
    if (this.#bytes > this.#limit) {
      this.#isWhole = false;
      this.#chunks.length = 0;
      return;
    }
    this.#chunks.push(Buffer.from(bytes.subarray(start, end)));
  }

  /** The body has ended. */
  end(trailers: string): void {
    this.#trailers = trailers;
  }

  /** Sends all of it to another upstream. Returns whether the body is over. */
  sendTo(upstream: UpstreamRequest): boolean {
    for (const chunk of this.#chunks) upstream.data(chunk, 0, chunk.length, chunk.length, false);
    if (this.#trailers === undefined) return false;
    upstream.finish(this.#trailers);
    return true;
  }
}
