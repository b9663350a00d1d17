// Machine. Reads a regular file whole, but never more of it than a bound, and never waits for a pipe.
import { constants } from "node:fs";
import { open } from "node:fs/promises";

/**
 * Reads a file.
 *
 * @param most bytes
 * @returns the bytes, or one sentence that says why not
 */
export async function readBounded(file: string, most: number): Promise<Uint8Array | string> {
  try {
    // O_NONBLOCK: opening a FIFO that nobody writes to returns at once instead of holding a thread.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stats = await handle.stat();
    if (!stats.isFile()) return "expected a regular file";
    if (stats.size > most) return `expected at most ${most} bytes, found ${stats.size}`;
    // One byte more than the bound tells a file that grew meanwhile from one that just fits.
    const buffer = Buffer.allocUnsafe(Math.min(stats.size, most) + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, length);
      length += bytesRead;
      if (bytesRead === 0) return buffer.subarray(0, length);
      if (length === buffer.length) return "changed while it was read";
    }
  } catch (error) {
    return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
}
