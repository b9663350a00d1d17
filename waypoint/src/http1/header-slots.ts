// Pure. The names of the header fields that somebody reads, compiled so that one pass over a head finds them all
// without making a string of any other field.

interface Candidate {
  readonly name: Uint8Array;
  readonly slot: number;
}

/** A set of field names, each with a small number. Immutable; made once for each snapshot. */
export class HeaderSlots {
  /** How many names there are; slots are 0 to `size - 1`. */
  readonly size: number;
  readonly #slots: ReadonlyMap<string, number>;
  readonly #byLength: readonly (readonly Candidate[])[];

  /** `names` in any case; repeated names get one slot. */
  constructor(names: Iterable<string>) {
    const slots = new Map<string, number>();
    const byLength: Candidate[][] = [];
    for (const name of names) {
      const lower = name.toLowerCase();
      if (slots.has(lower)) continue;
      const slot = slots.size;
      slots.set(lower, slot);
      while (byLength.length <= lower.length) byLength.push([]);
      byLength[lower.length]?.push({ name: Buffer.from(lower, "latin1"), slot });
    }
    this.#slots = slots;
    this.#byLength = byLength;
    this.size = slots.size;
  }

  /** The number of a name, to be kept by whoever compiles routes or policies; `undefined` when it is not in the set. */
  slotOf(name: string): number | undefined {
    return this.#slots.get(name.toLowerCase());
  }

  /** The slot of a name in lower case, -1 when nobody reads it. */
  findName(name: string): number {
    return this.#slots.get(name) ?? -1;
  }

  /** The slot of the field name at `start` to `end` of `head`, -1 when nobody reads it. */
  find(head: Uint8Array, start: number, end: number): number {
    const candidates = this.#byLength[end - start];
    if (candidates === undefined) return -1;
    for (const candidate of candidates) {
      if (equalsName(head, start, candidate.name)) return candidate.slot;
    }
    return -1;
  }
}

/** Whether the bytes of `head` from `start` on are `name` (lower case), whatever the case of their letters. */
export function equalsName(head: Uint8Array, start: number, name: Uint8Array): boolean {
  for (let i = 0; i < name.length; i += 1) {
    const wanted = name[i] ?? 0;
    const found = head[start + i] ?? 0;
    // Only letters may differ in case: `| 0x20` would also make a hyphen of a carriage return.
    if (found !== wanted && (wanted < 0x61 || wanted > 0x7a || (found | 0x20) !== wanted)) return false;
  }
  return true;
}
