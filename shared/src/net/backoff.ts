// Pure. How long to wait before the next try: exponential, capped, with jitter so that many who fail together do not
// try again together.

/** The shape of a backoff. Times in milliseconds. */
export interface BackoffShape {
  /** Wait after the first failure, before jitter. */
  readonly baseMs: number;
  /** Longest wait, before jitter. */
  readonly capMs: number;
  /** Growth per failure; 2 when not given. */
  readonly factor?: number;
  /** Share of the wait that is random, 0 to 1; 0.5 when not given: a wait of 8 s then lies between 4 and 8 s. */
  readonly jitter?: number;
}

/**
 * The wait before the next try.
 *
 * @param failures how many tries have failed in a row, at least 1
 * @param random a number in [0, 1), such as `Math.random()`
 * @returns milliseconds, never more than `capMs`
 */
export function backoffDelay(shape: BackoffShape, failures: number, random: number): number {
  const factor = shape.factor ?? 2;
  const jitter = shape.jitter ?? 0.5;
  // `factor ** n` becomes Infinity for absurd counts, which the cap takes.
  const wait = Math.min(shape.capMs, shape.baseMs * factor ** Math.max(0, failures - 1));
  return wait * (1 - jitter * random);
}
