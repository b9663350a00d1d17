// Machine. The identity that a source has now, and those who want to hear of the next.
import type { Identity } from "../source.ts";

/** Holds one identity, none at first. */
export class Published {
  readonly #listeners = new Set<(identity: Identity) => void>();
  #identity: Identity | undefined;

  get now(): Identity | undefined {
    return this.#identity;
  }

  /** Puts it in the place of the one before and tells everybody. */
  put(identity: Identity): void {
    this.#identity = identity;
    for (const listener of this.#listeners) listener(identity);
  }

  /** The identity of a source that is handed out only once it has one. */
  get(): Identity {
    if (this.#identity === undefined) throw new TypeError("an identity source was used before it had an identity");
    return this.#identity;
  }

  onChange(listener: (identity: Identity) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#listeners.clear();
  }
}
