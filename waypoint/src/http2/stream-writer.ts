// Machine. The outgoing side of one HTTP/2 stream: gathers the body that is to go out together, and tells when there is room again.
import type { Http2Stream } from "node:http2";

/** What is written of one stream after another. */
export class StreamWriter {
  readonly #onRoom: () => void;
  #stream: Http2Stream | undefined = undefined;
  #pieces: Buffer[] = [];
  #full = false;

  /** @param onRoom called when a stream that was full has taken its bytes */
  constructor(onRoom: () => void) {
    this.#onRoom = onRoom;
  }

  /** Forgets everything about the last stream. */
  reset(): void {
    this.#stream = undefined;
    this.#pieces = [];
    this.#full = false;
  }

  /** Something waits to be written. */
  get pending(): boolean {
    return this.#pieces.length > 0;
  }

  /** The stream takes no more for now. */
  get full(): boolean {
    return this.#full;
  }

  /** Bytes `start` to `end`; `lent` ones are copied. */
  add(bytes: Buffer, start: number, end: number, lent: boolean): void {
    if (start === end) return;
    const piece = bytes.subarray(start, end);
    this.#pieces.push(lent ? Buffer.from(piece) : piece);
  }

  /** Writes what was gathered. `false`: full. */
  write(stream: Http2Stream): boolean {
    const pieces = this.#pieces;
    if (pieces.length === 0) return !this.#full;
    this.#pieces = [];
    let room: boolean;
    if (pieces.length === 1) room = stream.write(pieces[0]);
    else {
      stream.cork();
      room = true;
      for (const piece of pieces) room = stream.write(piece);
      stream.uncork();
    }
    if (!room && !this.#full) {
      this.#full = true;
      this.#stream = stream;
      stream.once("drain", this.#drained);
    }
    return !this.#full;
  }

  /** Writes what was gathered and ends the stream behind it. */
  end(stream: Http2Stream): void {
    const last = this.#pieces.pop();
    if (this.#pieces.length > 0) this.write(stream);
    if (last === undefined) stream.end();
    else stream.end(last);
  }

  readonly #drained = (): void => {
    if (this.#stream === undefined) return;
    this.#full = false;
    this.#stream = undefined;
    this.#onRoom();
  };
}
