// Pure. The `Connection` field (RFC 9110 section 7.6.1): what this hop was asked, and which fields it named as being for
// this hop only.
import { COMMA, HTAB, SP, at } from "./bytes.ts";
import { equalsName } from "../header-slots.ts";

const CLOSE = Buffer.from("close", "latin1");
const KEEP_ALIVE = Buffer.from("keep-alive", "latin1");
const UPGRADE = Buffer.from("upgrade", "latin1");

/** More names than that are no longer options of a connection. */
const MAX_NAMES = 32;

/** The options of one message; one object serves all messages in turn. */
export class ConnectionOptions {
  close = false;
  keepAlive = false;
  upgrade = false;
  #count = 0;
  readonly #names = new Int32Array(MAX_NAMES * 2);

  reset(): void {
    this.close = false;
    this.keepAlive = false;
    this.upgrade = false;
    this.#count = 0;
  }

  /** Adds the list at `start` to `end`. `false`: it names more fields than any sane message. */
  add(bytes: Uint8Array, start: number, end: number): boolean {
    let i = start;
    while (i < end) {
      while (i < end && isSeparator(at(bytes, i))) i += 1;
      const from = i;
      while (i < end && !isSeparator(at(bytes, i))) i += 1;
      if (i > from && !this.#addOption(bytes, from, i)) return false;
    }
    return true;
  }

  /** Whether the field name at `start` to `end` of the same bytes was named by an option. */
  names(bytes: Uint8Array, start: number, end: number): boolean {
    for (let k = 0; k < this.#count; k += 1) {
      const from = at32(this.#names, 2 * k);
      if (at32(this.#names, 2 * k + 1) - from === end - start && equalsFolded(bytes, from, start, end - start))
        return true;
    }
    return false;
  }

  /** Whether any field was named. */
  get any(): boolean {
    return this.#count > 0;
  }

  #addOption(bytes: Uint8Array, start: number, end: number): boolean {
    const length = end - start;
    if (length === 5 && equalsName(bytes, start, CLOSE)) this.close = true;
    else if (length === 10 && equalsName(bytes, start, KEEP_ALIVE)) this.keepAlive = true;
    else if (length === 7 && equalsName(bytes, start, UPGRADE)) this.upgrade = true;
    else if (this.#count === MAX_NAMES) return false;
    else {
      this.#names[2 * this.#count] = start;
      this.#names[2 * this.#count + 1] = end;
      this.#count += 1;
    }
    return true;
  }
}

function at32(list: Int32Array, index: number): number {
  return list[index] as number;
}

function isSeparator(byte: number): boolean {
  return byte === COMMA || byte === SP || byte === HTAB;
}

/** Compares two stretches of the same bytes without regard to the case of letters. */
function equalsFolded(bytes: Uint8Array, a: number, b: number, length: number): boolean {
  for (let i = 0; i < length; i += 1) {
    const x = at(bytes, a + i);
    const y = at(bytes, b + i);
    if (x === y) continue;
    const folded = x | 0x20;
    if (folded !== (y | 0x20) || folded < 0x61 || folded > 0x7a) return false;
  }
  return true;
}
