// Machine. Files that are written whole or not at all, and stay when the power fails: beside the place, synced, moved there, and
// the folder synced after it.
import { randomBytes } from "node:crypto";
import { lstat, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { fail } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";

/** Mode of what nobody else may read. */
export const SECRET = 0o600;
/** Mode of what everybody may read. */
export const PUBLIC = 0o644;
/** Mode of folders with secrets. */
export const PRIVATE_FOLDER = 0o700;

const STAGED = /^\..+\.[0-9a-f]{12}$/;

/** Where something is made before it moves to `path`: in the same folder, so in the same file system. */
export function stagingOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`);
}

/** Writes a file in one step: nobody ever reads half of it. Throws what the system says. */
export async function writeFileWhole(path: string, text: string, mode: number): Promise<void> {
  const staging = stagingOf(path);
  try {
    {
      await using file = await open(staging, "wx", mode);
      // The mode of `open` is cut by the umask.
      await file.chmod(mode);
      await file.writeFile(text);
      await file.sync();
    }
    await rename(staging, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await removeQuietly(staging);
    throw error;
  }
}

/** Makes what was created, moved or removed in a folder outlive a loss of power. */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, "r");
  await folder.sync();
}

/** What went wrong first is what is told. */
export async function removeQuietly(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch {
    // Where nothing could be written nothing is left.
  }
}

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

/** The system's code of an error. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}
