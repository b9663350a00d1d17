// Pure. The wire format of Protocol Buffers, as far as a few small messages need it: what we write, and a bounded reader of
// what others write. A library for it would cost every uproxy more than all messages that it ever reads.

/** One field as it lies on the wire: its number, and a number (varint) or bytes (everything that has a length). */
export interface Field {
  readonly number: number;
  readonly value: bigint | Uint8Array;
}

const VARINT = 0;
const FIXED_64 = 1;
const DELIMITED = 2;
const FIXED_32 = 5;

/** What 64 bits need at seven bits a byte. */
const MAX_VARINT_BYTES = 10;
const UINT64 = 64;
/** Of all fields of one message, nested ones not counted: bounds the memory that a message of empty fields takes. */
const MAX_FIELDS = 10_000;

/** Encodes a message. Numbers become varints (not negative), text and bytes become length-delimited fields. */
export function encodeMessage(fields: readonly (readonly [number, string | Uint8Array | number])[]): Buffer {
  const parts: Uint8Array[] = [];
  for (const [number, value] of fields) {
    if (typeof value === "number") {
      parts.push(varint(number * 8 + VARINT), varint(value));
      continue;
    }
    const bytes = typeof value === "string" ? Buffer.from(value) : value;
    parts.push(varint(number * 8 + DELIMITED), varint(bytes.length), bytes);
  }
  return Buffer.concat(parts);
}

/**
 * Reads the fields of one message in the order in which they came; bytes are views. Returns undefined for what is no message: a
 * cut field, a varint that is too long, a group, field number 0, or more than 10,000 fields.
 */
export function decodeMessage(bytes: Uint8Array): readonly Field[] | undefined {
  const reader = new Reader(bytes);
  const fields: Field[] = [];
  while (!reader.atEnd) {
    const tag = reader.varint();
    if (tag === undefined || tag > 0xffff_ffffn || fields.length >= MAX_FIELDS) return undefined;
    const number = Number(tag >> 3n);
    if (number === 0) return undefined;
    const value = reader.value(Number(tag & 7n));
    if (value === undefined) return undefined;
    fields.push({ number, value });
  }
  return fields;
}

/** All length-delimited fields of that number. */
export function bytesOf(fields: readonly Field[], number: number): readonly Uint8Array[] {
  return fields.flatMap((field) => (field.number === number && typeof field.value !== "bigint" ? [field.value] : []));
}

/** The text of a field, the last one where it stands more than once (as the format says); empty when it is not there. */
export function textOf(fields: readonly Field[], number: number): string {
  const bytes = bytesOf(fields, number).at(-1);
  return bytes === undefined ? "" : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
}

/** The entries of a `map<string, bytes>`; the last of a key counts. Undefined when one is no message. */
export function mapOf(fields: readonly Field[], number: number): ReadonlyMap<string, Uint8Array> | undefined {
  const map = new Map<string, Uint8Array>();
  for (const bytes of bytesOf(fields, number)) {
    const entry = decodeMessage(bytes);
    if (entry === undefined) return undefined;
    map.set(textOf(entry, 1), bytesOf(entry, 2).at(-1) ?? new Uint8Array());
  }
  return map;
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  varint(): bigint | undefined {
    let value = 0n;
    for (let index = 0; index < MAX_VARINT_BYTES; index += 1) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) return undefined;
      this.#at += 1;
      value |= BigInt(byte & 0x7f) << BigInt(7 * index);
      if (byte < 0x80) return BigInt.asUintN(UINT64, value);
    }
    return undefined;
  }

  value(wireType: number): bigint | Uint8Array | undefined {
    if (wireType === VARINT) return this.varint();
    if (wireType === FIXED_64) return this.#take(8n);
    if (wireType === FIXED_32) return this.#take(4n);
    if (wireType !== DELIMITED) return undefined;
    const length = this.varint();
    return length === undefined ? undefined : this.#take(length);
  }

  #take(length: bigint): Uint8Array | undefined {
    if (length > BigInt(this.#bytes.length - this.#at)) return undefined;
    const from = this.#at;
    this.#at += Number(length);
    return this.#bytes.subarray(from, this.#at);
  }
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt(value);
  while (rest >= 0x80n) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
