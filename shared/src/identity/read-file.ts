// Machine. Reads a small text file of an identity, looking at the file that was opened and not at what its name means later.
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";

/** Far above any bundle, so that a wrong path ends in a failure and not in memory. */
const MAX_FILE_BYTES = 1024 * 1024;
/** Read, write, execute of group and of others. */
const MODE_OF_OTHERS = 0o077;

/** Reads a file that anybody may know. Fails with IDENTITY_UNAVAILABLE: missing, not a plain file, too large. */
export async function readPublicFile(path: string): Promise<string | Failure> {
  const bytes = await readPublicBytes(path, MAX_FILE_BYTES);
  return isFailure(bytes) ? bytes : bytes.toString("utf8");
}

/** The same for what is no text, or may be larger: at most `most` bytes. */
export async function readPublicBytes(path: string, most: number): Promise<Buffer | Failure> {
  return read(path, most, false);
}

/** Reads a private key, which nobody but its owner may read. Fails as `readPublicFile`, or when the mode is wider than 0700. */
export async function readKeyFile(path: string): Promise<string | Failure> {
  const bytes = await read(path, MAX_FILE_BYTES, true);
  return isFailure(bytes) ? bytes : bytes.toString("utf8");
}

async function read(path: string, most: number, isKey: boolean): Promise<Buffer | Failure> {
  try {
    // Without O_NONBLOCK, opening a FIFO would wait for its writer.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile()) return fail("IDENTITY_UNAVAILABLE", `${path}: not a plain file`);
    if (stat.size > most) return fail("IDENTITY_UNAVAILABLE", `${path}: larger than ${most} bytes`);
    if (isKey && (stat.mode & MODE_OF_OTHERS) !== 0) {
      const mode = (stat.mode & 0o777).toString(8).padStart(4, "0");
      return fail(
        "IDENTITY_UNAVAILABLE",
        `${path}: the key has mode ${mode}, so others may use it; expected 0600 or 0400`,
      );
    }
    return await file.readFile();
  } catch (error) {
    return unreadable(path, error);
  }
}

/** The failure to read a file or folder, with the system's code and nothing of the content. */
export function unreadable(path: string, error: unknown): Failure {
  return fail("IDENTITY_UNAVAILABLE", `${path}: cannot be read (${codeOf(error)})`);
}

/** The system's code of an error. */
export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}
