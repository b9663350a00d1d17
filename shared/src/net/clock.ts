// Machine. The one place that knows the time. Everything else takes a `Clock`, so that tests move time instead of sleeping.
import { performance } from "node:perf_hooks";

/** About as long as the runtime can count. */
const LONG_MS = 2 ** 31 - 1;

/** A timer that can be cancelled, once or often. */
export interface Timer {
  cancel(): void;
}

/** Time as the rest of Culvert sees it. All durations are milliseconds. */
export interface Clock {
  /** Wall time, milliseconds since the epoch: for validity of certificates and for logs only. */
  now(): number;
  /** Monotonic time in milliseconds: for every duration and deadline. */
  monotonic(): number;
  /** Calls `run` once after `delayMs`. The timer never keeps the process alive. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls `run` every `periodMs`. The timer never keeps the process alive. */
  every(periodMs: number, run: () => void): Timer;
}

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs).unref();
    return { cancel: () => clearTimeout(timer) };
  },
  every: (periodMs, run) => {
    const timer = setInterval(run, periodMs).unref();
    return { cancel: () => clearInterval(timer) };
  },
};

/** Lets `ms` milliseconds pass and keeps the process alive meanwhile: for commands that wait, never for a service. */
export function pause(ms: number): Promise<void> {
  return new Promise((resume) => setTimeout(resume, ms));
}

/** Keeps the process alive, which no `Timer` does, until the returned function is called. */
export function keepProcess(): () => void {
  const held = setInterval(() => undefined, LONG_MS);
  return () => clearInterval(held);
}
