// Pure. Base64 of a stream, as gRPC-Web's text form has it: cut anywhere, and padded anywhere, since a sender may encode each piece that
// it has by itself.

const BAD = 64;
const PAD = 65;
const EQUALS = 0x3d;

const VALUES = ((): Uint8Array => {
  const values = new Uint8Array(256).fill(BAD);
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (let i = 0; i < alphabet.length; i += 1) values[alphabet.charCodeAt(i)] = i;
  values[EQUALS] = PAD;
  return values;
})();

/** Decodes one stream. Holds at most three characters. */
export class Base64Decoder {
  /** Bits of the group that is not whole. */
  #bits = 0;
  /** Characters of it. */
  #count = 0;
  /** Of those, padding. */
  #padding = 0;

  /** No group has begun and is not whole: the stream may end here. */
  get isWhole(): boolean {
    return this.#count === 0;
  }

  /** The bytes that `text` from `start` to `end` makes whole, perhaps none; `undefined` when it is no base64. */
  decode(text: Uint8Array, start: number, end: number): Buffer | undefined {
    const out = Buffer.allocUnsafe(3 * Math.ceil((end - start + this.#count) / 4));
    let length = 0;
    for (let i = start; i < end; i += 1) {
      const value = VALUES[text[i] ?? 0] ?? BAD;
      if (value === BAD || !this.#add(value)) return undefined;
      if (this.#count < 4) continue;
      const bytes = 3 - this.#padding;
      out[length] = this.#bits >> 16;
      if (bytes > 1) out[length + 1] = this.#bits >> 8;
      if (bytes > 2) out[length + 2] = this.#bits;
      length += bytes;
      this.#bits = 0;
      this.#count = 0;
      this.#padding = 0;
    }
    return out.subarray(0, length);
  }

  /** Whether one more character may stand here. */
  #add(value: number): boolean {
    const isPadding = value === PAD;
    // Two characters make the first byte; after padding there is only padding.
    if (isPadding ? this.#count < 2 : this.#padding > 0) return false;
    this.#bits = (this.#bits << 6) | (isPadding ? 0 : value);
    this.#count += 1;
    if (isPadding) this.#padding += 1;
    return true;
  }
}

/** The base64 of a piece, padded: it can be read by itself. */
export function encodeBase64(bytes: Buffer, start: number, end: number): Buffer {
  return Buffer.from(bytes.toString("base64", start, end), "latin1");
}
