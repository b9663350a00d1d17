// Pure. Length-prefixed messages of gRPC over HTTP/2: one octet that says whether it is compressed, four of length, the message.
import { CallEnd, GRPC } from "./status.ts";

const PREFIX = 5;
/** Pieces of a message that are at least this long stay as they come. */
const SMALL = 4 * 1024;

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

  /** Bytes of the message that has begun and is not whole, its prefix counted. */
  get held(): number {
    return this.#held;
  }

  /** The messages that `chunk` makes whole, in order, or why no more are read. */
  take(chunk: Buffer): readonly Buffer[] | CallEnd {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    this.#gather();
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

  /** Small pieces become larger ones as they come: a piece costs a hundred times what a byte does. */
  #gather(): void {
    const chunks = this.#chunks;
    for (;;) {
      const [before, last] = chunks.slice(-2);
      if (before === undefined || last === undefined || before.length > Math.min(last.length, SMALL)) return;
      chunks.splice(-2, 2, joinedOf(before, last));
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

/** Two pieces as one. Those that stay have memory of their own: a part of the pool would keep all of it. */
function joinedOf(before: Buffer, last: Buffer): Buffer {
  const length = before.length + last.length;
  const joined = length > SMALL ? Buffer.allocUnsafeSlow(length) : Buffer.allocUnsafe(length);
  joined.set(before, 0);
  joined.set(last, before.length);
  return joined;
}
