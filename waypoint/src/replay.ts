// Machine. What was sent of a request body, kept as long as it is small so that the request can be sent again.
import type { UpstreamRequest } from "./http/message.ts";

/** Whose room bodies are kept in. */
export interface BodyRoom {
  /** `false`: there is none for so many bytes more. */
  hold(bytes: number): boolean;
  /** Bytes that `hold` has taken are free again. */
  release(bytes: number): void;
}

/** The body of one request so far. */
export class Replay {
  readonly #limit: number;
  readonly #room: BodyRoom;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #trailers: string | undefined = undefined;
  #isWhole = true;

  /** @param limit most bytes that are kept; a longer body cannot be sent again */
  constructor(limit: number, room: BodyRoom) {
    this.#limit = limit;
    this.#room = room;
  }

  /** Everything that was sent is here. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** Bytes were sent; they are copied. */
  keep(bytes: Buffer, start: number, end: number): void {
    if (!this.#isWhole) return;
    const length = end - start;
    if (this.#bytes + length > this.#limit || !this.#room.hold(length)) {
      this.#isWhole = false;
      this.drop();
      return;
    }
    this.#bytes += length;
    this.#chunks.push(Buffer.from(bytes.subarray(start, end)));
  }

  /** Forgets what was kept: it will not be sent again. */
  drop(): void {
    this.#room.release(this.#bytes);
    this.#bytes = 0;
    this.#chunks.length = 0;
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
