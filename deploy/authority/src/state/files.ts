// Machine. The files of an authority's folder: their modes, what killed writers have left, and how a failure to write is told.
import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { fail } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { codeOf } from "@culvert/shared/identity/read-file.ts";
import { removeQuietly } from "@culvert/shared/identity/write-file.ts";

/** Mode of what nobody else may read. */
export const SECRET = 0o600;
/** Mode of what everybody may read. */
export const PUBLIC = 0o644;
/** Mode of folders with secrets. */
export const PRIVATE_FOLDER = 0o700;

const STAGED = /^\..+\.[0-9a-f]{12}$/;

/** Removes what writers that were killed have left behind. To be called while nobody else may write in `folder`. */
export async function removeStaged(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  for (const name of names) if (STAGED.test(name)) await removeQuietly(join(folder, name));
}

/** Runs what writes; what the system says becomes IDENTITY_UNAVAILABLE, naming `place`. */
export async function attempt<T>(place: string, write: () => Promise<T>): Promise<T | Failure> {
  try {
    return await write();
  } catch (error) {
    return unwritable(place, error);
  }
}

/** Whether anything has this path. */
export async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    return false;
  }
}

/** The failure to write, with the system's code. */
export function unwritable(place: string, error: unknown): Failure {
  return fail("IDENTITY_UNAVAILABLE", `${place}: cannot be written (${codeOf(error)})`);
}
