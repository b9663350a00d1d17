// Machine. The one way to wait in a test: for a condition, with a deadline, never for a guess.
import { setTimeout as pause } from "node:timers/promises";
import { systemClock } from "@culvert/shared/net/clock.ts";

const POLL_MS = 10;

/** How long a test waits for what should happen at once; generous because the machine may be busy. */
export const DEADLINE_MS = 15_000;

/**
 * Waits until `condition` gives something other than `undefined`, `false` or `null` and returns it.
 * `what` completes the sentence "waited for …". A condition that throws is tried again; the last error is the cause.
 */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  deadlineMs: number = DEADLINE_MS,
): Promise<Exclude<T, undefined | false | null>> {
  const end = systemClock.monotonic() + deadlineMs;
  for (;;) {
    let cause: unknown;
    try {
      const result = await condition();
      if (result !== undefined && result !== false && result !== null) {
        return result as Exclude<T, undefined | false | null>;
      }
    } catch (error) {
      cause = error;
    }
    if (systemClock.monotonic() > end) throw new Error(`waited ${deadlineMs} ms for ${what}`, { cause });
    await pause(POLL_MS);
  }
}

/** Settles with `promise`, or fails after the deadline. */
export async function within<T>(what: string, promise: Promise<T>, deadlineMs: number = DEADLINE_MS): Promise<T> {
  const stop = new AbortController();
  const late = pause(deadlineMs, undefined, { signal: stop.signal }).then(
    () => {
      throw new Error(`waited ${deadlineMs} ms for ${what}`);
    },
    () => new Promise<never>(() => {}),
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
  }
}

/** Lets `ms` pass: for holding a load or an observation window, never for hoping that something has happened. */
export async function observe(ms: number): Promise<void> {
  await pause(ms);
}
