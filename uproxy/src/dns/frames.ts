// Pure. DNS over TCP: each message behind its length in two bytes (RFC 1035 section 4.2.2).

/** Cuts a stream into messages. Holds the bytes that it was given and that are not taken yet, and one message in the making. */
export class FrameReader {
  readonly #prefix: Buffer = Buffer.alloc(2);
  #prefixBytes = 0;
  #message: Buffer | undefined;
  #messageBytes = 0;
  #chunk: Buffer | undefined;

  /** Takes bytes, once `next` has found no more in those before. They are read until then. */
  push(chunk: Buffer): void {
    this.#chunk = chunk;
  }

  /** The next whole message, which shares no memory with the bytes; `undefined` when more bytes are needed. */
  next(): Buffer | undefined {
    if (this.#message === undefined) {
      this.#prefixBytes += this.#copyTo(this.#prefix, this.#prefixBytes);
      if (this.#prefixBytes < 2) return undefined;
      this.#message = Buffer.allocUnsafe(this.#prefix.readUInt16BE(0));
      this.#messageBytes = 0;
    }
    this.#messageBytes += this.#copyTo(this.#message, this.#messageBytes);
    if (this.#messageBytes < this.#message.length) return undefined;
    const message = this.#message;
    this.#message = undefined;
    this.#prefixBytes = 0;
    return message;
  }

  #copyTo(target: Buffer, start: number): number {
    if (this.#chunk === undefined) return 0;
    const copied = this.#chunk.copy(target, start);
    this.#chunk = copied === this.#chunk.length ? undefined : this.#chunk.subarray(copied);
    return copied;
  }
}

/** A message as TCP carries it, in one piece, so that one packet carries both (RFC 7766 section 8). */
export function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  message.copy(framed, 2);
  return framed;
}
