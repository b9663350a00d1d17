// Machine. Gathers the pieces of one message, or of one read's share of it, and writes them to a channel in one write: two
// writes for one message cost more than everything else that this hop does to it.
import type { ByteChannel } from "./channel.ts";

/** Up to here a message is one string, which the runtime encodes on the stack and writes at once. */
const TEXT_BYTES = 16 * 1024;

/** Room for framing behind the bytes of one read. */
const SLACK_BYTES = 256;

/** The outgoing side of one channel. Text is latin1: one character is one byte. */
export class Outgoing {
  readonly #channel: ByteChannel;
  #text = "";
  #block: Buffer | undefined = undefined;
  #blockLength = 0;
  #full = false;

  constructor(channel: ByteChannel) {
    this.#channel = channel;
  }

  /** Whether something waits for `flush`. */
  get pending(): boolean {
    return this.#block !== undefined || this.#text !== "";
  }

  text(text: string): void {
    if (this.#block === undefined) this.#text += text;
    else this.#appendText(text);
  }

  /**
   * Appends bytes `start` to `end`; `readEnd` is the end of what was read with them, an upper bound of what may follow in
   * the same write. `lent` bytes are copied.
   */
  bytes(bytes: Buffer, start: number, end: number, readEnd: number, lent: boolean): void {
    const length = end - start;
    if (this.#block === undefined) {
      if (this.#text.length + length <= TEXT_BYTES) {
        this.#text += bytes.toString("latin1", start, end);
        return;
      }
      if (!lent && this.#text === "" && end === readEnd) {
        this.#write(bytes.subarray(start, end));
        return;
      }
      this.#block = Buffer.allocUnsafeSlow(this.#text.length + readEnd - start + SLACK_BYTES);
      this.#blockLength = this.#block.write(this.#text, 0, "latin1");
      this.#text = "";
    }
    if (this.#blockLength + length > this.#block.length) this.#grow(length);
    bytes.copy(this.#block, this.#blockLength, start, end);
    this.#blockLength += length;
  }

  /** Writes what was gathered. `false`: the channel is full; its `onDrain` will tell. */
  flush(): boolean {
    if (this.#block !== undefined) {
      const block = this.#block;
      this.#block = undefined;
      this.#write(block.subarray(0, this.#blockLength));
    } else if (this.#text !== "") {
      const text = this.#text;
      this.#text = "";
      if (!this.#channel.writeLatin1(text)) this.#full = true;
    }
    return !this.#full;
  }

  /** The channel has room again. */
  drained(): void {
    this.#full = false;
  }

  #write(bytes: Buffer): void {
    if (!this.#channel.writeBytes(bytes)) this.#full = true;
  }

  #appendText(text: string): void {
    if (this.#block === undefined) return;
    if (this.#blockLength + text.length > this.#block.length) this.#grow(text.length);
    this.#blockLength += this.#block.write(text, this.#blockLength, "latin1");
  }

  #grow(by: number): void {
    if (this.#block === undefined) return;
    const larger = Buffer.allocUnsafeSlow((this.#blockLength + by) * 2);
    this.#block.copy(larger, 0, 0, this.#blockLength);
    this.#block = larger;
  }
}
