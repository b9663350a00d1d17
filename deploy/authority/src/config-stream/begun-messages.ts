// Pure. What is held of messages that have begun and are not whole, by whom: where it is too much, whoever holds the most has to go, and
// not whoever happens to come.

/** See the head of the file. `Line` is what a message comes by. */
export class BegunMessages<Line> {
  readonly #bytes = new Map<Line, { readonly holder: string; readonly bytes: number }>();
  #total = 0;

  /** Bytes of all lines together. */
  get total(): number {
    return this.#total;
  }

  /** A line now holds so many bytes for `holder`. */
  hold(line: Line, holder: string, bytes: number): void {
    this.release(line);
    if (bytes === 0) return;
    this.#bytes.set(line, { holder, bytes });
    this.#total += bytes;
  }

  /** A line holds nothing any longer. */
  release(line: Line): void {
    this.#total -= this.#bytes.get(line)?.bytes ?? 0;
    this.#bytes.delete(line);
  }

  /** The line with the most bytes, of the holder with the most. */
  most(): Line | undefined {
    const holders = new Map<string, number>();
    for (const { holder, bytes } of this.#bytes.values()) holders.set(holder, (holders.get(holder) ?? 0) + bytes);
    let found: Line | undefined;
    let [mostOfHolder, most] = [0, 0];
    for (const [line, { holder, bytes }] of this.#bytes) {
      const ofHolder = holders.get(holder) ?? 0;
      if (ofHolder < mostOfHolder || (ofHolder === mostOfHolder && bytes <= most)) continue;
      [found, mostOfHolder, most] = [line, ofHolder, bytes];
    }
    return found;
  }
}
