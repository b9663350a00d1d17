// Machine. Something of which a process has so much, shared out among those who take of it: each may hold as much as is left free
// after it has taken. So one alone gets half, and two get a third each: the share grows when others are idle, shrinks when they come,
// and there is always room for the next one. Nothing is reckoned but two sums.

/** All that there is of it. */
export class Pool {
  readonly total: number;
  used = 0;

  constructor(total: number) {
    this.total = total;
  }
}

/** What one of them holds. */
export class Share {
  readonly #pool: Pool;
  #used = 0;

  constructor(pool: Pool) {
    this.#pool = pool;
  }

  get used(): number {
    return this.#used;
  }

  /** `false`, and nothing is taken: over the share. */
  take(amount: number): boolean {
    const pool = this.#pool;
    if (this.#used + amount > pool.total - pool.used - amount) return false;
    this.#used += amount;
    pool.used += amount;
    return true;
  }

  give(amount: number): void {
    this.#used -= amount;
    this.#pool.used -= amount;
  }
}
