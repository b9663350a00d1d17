// Pure. The part of MessagePack that trees of configuration and the messages around them are made of: arrays, strings, numbers,
// booleans, nil, and maps whose keys are strings. No bytes, no extensions. Our own, because a library with all of it is a tenth of
// what uproxy ships.

/** A value that can be written. */
export type Plain = string | number | boolean | null | readonly Plain[] | PlainMap | Packed;

/** A map; keys come from outside, and `__proto__` is one like others. */
export interface PlainMap extends ReadonlyMap<string, Plain> {}

/** A value that is packed already, and is written as it is. Nothing that is read holds one. */
export class Packed {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }
}

/** What of values is allowed beside what trees are made of. */
export interface Allowed {
  /** Maps too; of a key that is there twice the last counts. */
  readonly maps?: boolean;
  /** Values in all, keys and nested ones counted. */
  readonly values?: number;
}

/** Writes a value. */
export function pack(value: Plain): Uint8Array {
  const writer = new Writer();
  writer.value(value);
  return writer.bytes();
}

/** Reads what `refusal` has found nothing against; of anything else the outcome is undefined. */
export function unpack(packed: Uint8Array): Plain {
  return new Reader(packed).value();
}

class Writer {
  #buffer = Buffer.allocUnsafe(1024);
  #length = 0;

  value(value: Plain): void {
    if (typeof value === "string") {
      const size = Buffer.byteLength(value);
      if (size < 32) this.#head(0xa0 + size, 0, 0);
      else if (size <= 0xff) this.#head(0xd9, 1, size);
      else if (size <= 0xffff) this.#head(0xda, 2, size);
      else this.#head(0xdb, 4, size);
      this.#room(size);
      this.#length += this.#buffer.write(value, this.#length);
    } else if (typeof value === "number") {
      this.#number(value);
    } else if (value === null) {
      this.#head(0xc0, 0, 0);
    } else if (typeof value === "boolean") {
      this.#head(value ? 0xc3 : 0xc2, 0, 0);
    } else if (value instanceof Packed) {
      this.#room(value.bytes.length);
      this.#buffer.set(value.bytes, this.#length);
      this.#length += value.bytes.length;
    } else if ("size" in value) {
      if (value.size < 16) this.#head(0x80 + value.size, 0, 0);
      else if (value.size <= 0xffff) this.#head(0xde, 2, value.size);
      else this.#head(0xdf, 4, value.size);
      for (const [key, item] of value) {
        this.value(key);
        this.value(item);
      }
    } else {
      if (value.length < 16) this.#head(0x90 + value.length, 0, 0);
      else if (value.length <= 0xffff) this.#head(0xdc, 2, value.length);
      else this.#head(0xdd, 4, value.length);
      for (const item of value) this.value(item);
    }
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.#buffer.subarray(0, this.#length));
  }

  #number(value: number): void {
    if (Number.isInteger(value) && !Object.is(value, -0) && value >= 0 && value <= 0xffffffff) {
      if (value < 0x80) this.#head(value, 0, 0);
      else if (value <= 0xff) this.#head(0xcc, 1, value);
      else if (value <= 0xffff) this.#head(0xcd, 2, value);
      else this.#head(0xce, 4, value);
      return;
    }
    this.#head(0xcb, 0, 0);
    this.#room(8);
    this.#length = this.#buffer.writeDoubleBE(value, this.#length);
  }

  #head(byte: number, size: number, number: number): void {
    this.#room(1 + size);
    this.#length = this.#buffer.writeUInt8(byte, this.#length);
    if (size > 0) this.#length = this.#buffer.writeUIntBE(number, this.#length, size);
  }

  #room(size: number): void {
    if (this.#length + size <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#buffer.length, this.#length + size));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

class Reader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(packed: Uint8Array) {
    this.#buffer = Buffer.from(packed.buffer, packed.byteOffset, packed.length);
  }

  value(): Plain {
    const byte = this.#unsigned(1);
    if (byte <= 0x7f) return byte;
    if (byte >= 0xe0) return byte - 0x100;
    if (byte <= 0x8f) return this.#map(byte - 0x80);
    if (byte <= 0x9f) return this.#list(byte - 0x90);
    if (byte <= 0xbf) return this.#text(byte - 0xa0);
    const at = this.#at;
    // The order of MessagePack's own table.
    switch (byte) {
      case 0xc2:
      case 0xc3:
        return byte === 0xc3;
      case 0xca:
        this.#at += 4;
        return this.#buffer.readFloatBE(at);
      case 0xcb:
        this.#at += 8;
        return this.#buffer.readDoubleBE(at);
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#unsigned(2 ** (byte - 0xcc));
      case 0xcf:
        this.#at += 8;
        return Number(this.#buffer.readBigUInt64BE(at));
      case 0xd0:
      case 0xd1:
      case 0xd2:
        this.#at += 2 ** (byte - 0xd0);
        return this.#buffer.readIntBE(at, 2 ** (byte - 0xd0));
      case 0xd3:
        this.#at += 8;
        return Number(this.#buffer.readBigInt64BE(at));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#unsigned(2 ** (byte - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#list(this.#unsigned(2 ** (byte - 0xdb)));
      case 0xde:
      case 0xdf:
        return this.#map(this.#unsigned(2 ** (byte - 0xdd)));
      default:
        return null;
    }
  }

  #list(length: number): readonly Plain[] {
    return Array.from({ length }, () => this.value());
  }

  #map(size: number): PlainMap {
    const map = new Map<string, Plain>();
    for (let index = 0; index < size; index += 1) {
      const key = this.value();
      if (typeof key === "string") map.set(key, this.value());
    }
    return map;
  }

  #text(size: number): string {
    const text = this.#buffer.toString("utf8", this.#at, this.#at + size);
    this.#at += size;
    return text;
  }

  #unsigned(size: number): number {
    const value = this.#buffer.readUIntBE(this.#at, size);
    this.#at += size;
    return value;
  }
}

/**
 * Walks MessagePack without building anything: one whole value of arrays, strings, numbers, booleans and nil, and of maps where
 * they are allowed, no deeper than allowed, every length within the bytes that are there. Why it must not be decoded, if so.
 */
export function refusal(
  packed: Uint8Array,
  maxDepth: number,
  { maps = false, values = Infinity }: Allowed = {},
): string | undefined {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  /** Values that are still to come, level by level; of a map negative: keys and values by turns, a key when even. */
  const open: number[] = [1];
  let at = 0;
  let seen = 0;
  while (open.length > 0) {
    const left = open.pop() ?? 0;
    if (left === 0) continue;
    open.push(left > 0 ? left - 1 : left + 1);
    if (at >= packed.length) return "ends within a value";
    const step = valueAt(view, at, maps);
    if (step === undefined) return `byte ${view.getUint8(at)} at ${at} begins nothing that is allowed there`;
    if (left < 0 && left % 2 === 0 && step.kind !== "text") return `a key at ${at} that is no string`;
    seen += 1;
    if (seen > values) return `expected at most ${values} values`;
    at += step.bytes;
    if (at > packed.length) return "ends within a value";
    // Each item takes a byte at least.
    if (step.items > packed.length - at) return `${step.items} items in ${packed.length - at} bytes`;
    if (step.items === 0) continue;
    open.push(step.kind === "map" ? -step.items : step.items);
    if (open.length > maxDepth) return `expected at most ${maxDepth} levels of nesting`;
  }
  return at === packed.length ? undefined : `${packed.length - at} bytes after the end`;
}

interface Step {
  /** What the value takes, its items not counted; possibly more than there is. */
  readonly bytes: number;
  /** Items of a list; keys and values of a map. */
  readonly items: number;
  readonly kind?: "text" | "map";
}

function valueAt(view: DataView, at: number, maps: boolean): Step | undefined {
  const byte = view.getUint8(at);
  if (byte <= 0x7f || byte >= 0xe0) return { bytes: 1, items: 0 };
  if (byte <= 0x8f) return maps ? { bytes: 1, items: 2 * (byte - 0x80), kind: "map" } : undefined;
  if (byte <= 0x9f) return { bytes: 1, items: byte - 0x90 };
  if (byte <= 0xbf) return { bytes: 1 + byte - 0xa0, items: 0, kind: "text" };
  const length = (size: 1 | 2 | 4): number => {
    if (at + 1 + size > view.byteLength) return Infinity;
    if (size === 1) return view.getUint8(at + 1);
    return size === 2 ? view.getUint16(at + 1) : view.getUint32(at + 1);
  };
  switch (byte) {
    // nil, false, true
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return { bytes: 1, items: 0 };
    // unsigned and signed integers, float32, float64
    case 0xcc:
    case 0xd0:
      return { bytes: 2, items: 0 };
    case 0xcd:
    case 0xd1:
      return { bytes: 3, items: 0 };
    case 0xce:
    case 0xd2:
    case 0xca:
      return { bytes: 5, items: 0 };
    case 0xcf:
    case 0xd3:
    case 0xcb:
      return { bytes: 9, items: 0 };
    // str8, str16, str32
    case 0xd9:
      return { bytes: 2 + length(1), items: 0, kind: "text" };
    case 0xda:
      return { bytes: 3 + length(2), items: 0, kind: "text" };
    case 0xdb:
      return { bytes: 5 + length(4), items: 0, kind: "text" };
    // array16, array32
    case 0xdc:
      return { bytes: 3, items: length(2) };
    case 0xdd:
      return { bytes: 5, items: length(4) };
    // map16, map32
    case 0xde:
      return maps ? { bytes: 3, items: 2 * length(2), kind: "map" } : undefined;
    case 0xdf:
      return maps ? { bytes: 5, items: 2 * length(4), kind: "map" } : undefined;
    default:
      return undefined;
  }
}
