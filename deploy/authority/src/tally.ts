// Pure. How many of something each holder has; whoever has none takes no room.

/** See the head of the file. */
export class Tally<Holder> {
  readonly #counts = new Map<Holder, number>();

  /** How many a holder has. */
  of(holder: Holder): number {
    return this.#counts.get(holder) ?? 0;
  }

  /** A holder has one more. */
  add(holder: Holder): void {
    this.#counts.set(holder, this.of(holder) + 1);
  }

  /** A holder has one less. */
  remove(holder: Holder): void {
    const left = this.of(holder) - 1;
    if (left > 0) this.#counts.set(holder, left);
    else this.#counts.delete(holder);
  }
}
