// Machine. Locks of an authority's folder that vanish with the process that holds them, however it ends. They are SQLite's, on
// empty files: the kernel's own file locks, for which the runtime has no call, and `node:ffi` would need a permission to call
// anything at all.
import { join } from "node:path";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { pause } from "@culvert/shared/net/clock.ts";

/** Which lock: `serve` is held for the life of a server, `write` for the moment in which something is changed. */
export type LockName = "serve" | "write";

/** A lock that is held for as long as this object is. */
export interface HeldLock {
  release(): void;
}

/** Writers hold the lock for a few milliseconds each, so that this is an eternity; a stopped one must not stop all others. */
const WAIT_MS = 10_000;
const TRY_AGAIN_MS = 5;
const SQLITE_BUSY = 5;

/** Takes a lock if nobody holds it; undefined when somebody does. Fails with IDENTITY_UNAVAILABLE. */
export async function tryLock(folder: string, name: LockName): Promise<HeldLock | undefined | Failure> {
  const path = join(folder, `${name}.lock`);
  const { DatabaseSync } = await import("node:sqlite");
  try {
    const file = new DatabaseSync(path, { timeout: 0 });
    try {
      // Nothing is ever written, so there is nothing to roll back; a journal on a full disk could not be begun.
      file.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
      return { release: () => (file.isOpen ? file.close() : undefined) };
    } catch (error) {
      file.close();
      if (error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY) return undefined;
      throw error;
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : "unknown error";
    return fail("IDENTITY_UNAVAILABLE", `${path}: cannot be locked (${reason})`);
  }
}

/** Runs `change` while no other process changes the folder. Fails with IDENTITY_UNAVAILABLE when that cannot be had for long. */
export async function whileLocked<T>(folder: string, change: () => Promise<T | Failure>): Promise<T | Failure> {
  for (let waited = 0; waited < WAIT_MS; waited += TRY_AGAIN_MS) {
    const lock = await tryLock(folder, "write");
    if (isFailure(lock)) return lock;
    if (lock !== undefined) {
      try {
        return await change();
      } finally {
        lock.release();
      }
    }
    await pause(TRY_AGAIN_MS);
  }
  return fail(
    "IDENTITY_UNAVAILABLE",
    `${join(folder, "write.lock")}: another process has been writing for ${WAIT_MS} ms`,
  );
}
