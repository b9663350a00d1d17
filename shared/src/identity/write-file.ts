// Machine. Files that are written whole or not at all, and stay when the power fails: beside the place, synced, moved there, and
// the folder synced after it.
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { chmod, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

/**
 * How a new file is opened so that what is written is on the disk when the call returns. Under `--permission` the runtime refuses
 * to sync or to change the mode of what is open.
 */
export const NEW_SYNCED: number = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_SYNC;

/** Where something is made before it moves to `path`: in the same folder, so in the same file system. */
export function stagingOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.${randomBytes(6).toString("hex")}`);
}

/** Writes a file in one step: nobody ever reads half of it. Throws what the system says. */
export async function writeFileWhole(path: string, text: string, mode: number): Promise<void> {
  const staging = stagingOf(path);
  try {
    {
      await using file = await open(staging, NEW_SYNCED, mode);
      // The mode of `open` is cut by the umask.
      await chmod(staging, mode);
      await file.writeFile(text);
    }
    await rename(staging, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await removeQuietly(staging);
    throw error;
  }
}

/**
 * Makes what was created, moved or removed in a folder outlive a loss of power; under `--permission`, where that cannot be asked
 * for, when the system gets to it: the old state or the new one is there all the same.
 */
export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ERR_ACCESS_DENIED")) throw error;
  }
}

/** What went wrong first is what is told. */
export async function removeQuietly(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch {
    // Where nothing could be written nothing is left.
  }
}
