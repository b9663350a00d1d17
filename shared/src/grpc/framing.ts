// Pure. Length-prefixed messages of gRPC over HTTP/2: one octet that says whether it is compressed, four of length, the message.
import { CallEnd, GRPC } from "./status.ts";

const PREFIX = 5;

/** A message with its prefix; never compressed. */
export function framed(message: Uint8Array): Buffer {
  const prefix = Buffer.alloc(PREFIX);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** Cuts a stream of bytes into messages. Holds one message at most, and none that is longer than `maxBytes`. */
export class Deframer {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #held = 0;
  /** Bytes of the message that is being read with its prefix; undefined while the prefix is not there. */
  #wanted: number | undefined;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether a message has begun and is not whole. */
  get inMessage(): boolean {
    return this.#held > 0;
  }

  /** The messages that `chunk` makes whole, in order, or why no more are read. */
  take(chunk: Buffer): readonly Buffer[] | CallEnd {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    const messages: Buffer[] = [];
    for (;;) {
      if (this.#wanted === undefined) {
        if (this.#held < PREFIX) return messages;
        const prefix = this.#joined();
        if (prefix[0] !== 0) return new CallEnd(GRPC.unimplemented, "a compressed message, which was not asked for");
        const length = prefix.readUInt32BE(1);
        if (length > this.#maxBytes) {
          return new CallEnd(GRPC.resourceExhausted, `a message of ${length} bytes, ${this.#maxBytes} are taken`);
        }
        this.#wanted = PREFIX + length;
      }
      if (this.#held < this.#wanted) return messages;
      const bytes = this.#joined();
      messages.push(bytes.subarray(PREFIX, this.#wanted));
      this.#chunks = [bytes.subarray(this.#wanted)];
      this.#held -= this.#wanted;
      this.#wanted = undefined;
    }
  }

  #joined(): Buffer {
    const [first, ...others] = this.#chunks;
    if (first !== undefined && others.length === 0) return first;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }
}
