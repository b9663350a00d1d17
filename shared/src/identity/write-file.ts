// Machine. Files that are written whole or not at all, and stay when the power fails: beside the place, synced, moved there, and
// the folder synced after it.
import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";

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
