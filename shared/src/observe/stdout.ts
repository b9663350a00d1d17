// Machine. Standard output as a place to write text to without ever blocking the event loop.
import { fstatSync, write } from "node:fs";
import { systemClock } from "../net/clock.ts";
import type { Clock } from "../net/clock.ts";
import type { WriteText } from "./line-writer.ts";

const STDOUT = 1;
/** A descriptor that somebody else made non-blocking says EAGAIN when it is full; the next try comes after this long. */
const RETRY_MS = 10;

/**
 * The way to write to stdout, chosen by what stdout is. A pipe or socket goes through `process.stdout`, which is
 * asynchronous for those two and does not hold up the end of the process when the reader hangs (tried on Node 26). For
 * files and terminals `process.stdout` would block, so those are written by the thread pool.
 */
export function stdoutWriter(clock: Clock = systemClock): WriteText {
  return isStream(STDOUT) ? streamWriter() : descriptorWriter(STDOUT, clock);
}

function isStream(descriptor: number): boolean {
  try {
    const status = fstatSync(descriptor);
    return status.isFIFO() || status.isSocket();
  } catch {
    return false;
  }
}

function streamWriter(): WriteText {
  // The reader went away: each write reports it to its own callback; without a listener it would end the process.
  process.stdout.on("error", () => undefined);
  return (text, done) => {
    process.stdout.write(text, (error) => done(error ?? undefined));
  };
}

/** Writes to a descriptor through the thread pool, continuing after partial writes. */
export function descriptorWriter(descriptor: number, clock: Clock): WriteText {
  return (text, done) => {
    const bytes = Buffer.from(text);
    const next = (offset: number): void => {
      write(descriptor, bytes, offset, bytes.length - offset, null, (error, written) => {
        if (error?.code === "EAGAIN") clock.after(RETRY_MS, () => next(offset));
        else if (error !== null) done(error);
        else if (offset + written < bytes.length) next(offset + written);
        else done(undefined);
      });
    };
    next(0);
  };
}
