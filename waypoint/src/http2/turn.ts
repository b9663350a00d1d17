// Machine. Puts off what is gathered until all of one read has been handed over: the head, the data and the end of a message that came
// together are then written together, and nothing need be written to say that the end has come.

/** Something that has gathered what is to be written. */
export interface Gathered {
  /** Called once for each `add`. */
  endTurn(): void;
}

/** Of one session. */
export class Turn {
  #gathered: Gathered[] = [];

  /** Not to be called twice before the `endTurn` that follows. */
  add(entry: Gathered): void {
    if (this.#gathered.push(entry) === 1) process.nextTick(this.#wait);
  }

  /** The end of a stream is told one tick after its last bytes. */
  readonly #wait = (): void => process.nextTick(this.#end);

  readonly #end = (): void => {
    const gathered = this.#gathered;
    this.#gathered = [];
    for (const entry of gathered) entry.endTurn();
  };
}
