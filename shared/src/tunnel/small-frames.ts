// Machine. What a peer sends waits in the stream until it is read, and the stream's window bounds its bytes; but each DATA frame
// waits as a buffer of its own, which takes a hundred bytes and keeps the whole read alive that it came in. A window of single
// bytes is a hundred MiB. So small frames that wait are put together, and what waits costs about what it weighs.
import type { Http2Stream } from "node:http2";

/** A frame below this is small. Four of these are one read, so a larger one keeps at most four times its bytes alive. */
const SMALL = 4 * 1024;
/** So many small frames in a row are put together; until then they cost a few KB, and up to as many reads. */
const IN_A_ROW = 64;

/** What the runtime keeps of a stream that nobody reads: `buffer` from `bufferIndex` on, `length` bytes in all. */
interface Waiting {
  readonly buffer: Buffer[];
  readonly bufferIndex: number;
  readonly length: number;
}

/**
 * Watches over a stream from its birth on. What is read at once, and frames of a common size, take their way as always. Where
 * the runtime keeps what waits in another form, nothing is changed.
 */
export function mergeSmallFrames(stream: Http2Stream): void {
  const { _readableState: waiting } = stream as unknown as { _readableState?: Partial<Waiting> };
  if (!isWaiting(waiting)) return;
  // oxlint-disable-next-line typescript/unbound-method -- it is called on its stream.
  const { push } = stream;
  let row = 0;
  stream.push = (chunk: Buffer | null, encoding?: BufferEncoding): boolean => {
    const more = push.call(stream, chunk, encoding);
    if (chunk === null) return more;
    if (waiting.length === 0) row = 0;
    else if (chunk.length >= SMALL) {
      if (row > 1) merge(waiting, row, 1);
      row = 0;
    } else if (++row === IN_A_ROW) {
      merge(waiting, row, 0);
      row = 0;
    }
    return more;
  };
}

/**
 * Makes one of the last `count` buffers before the very last `after`, or of those that are still there, and of smaller ones before
 * them: so each byte is copied a few times only. The copy has memory of its own, as one in a shared pool keeps the pool alive.
 */
function merge({ buffer, bufferIndex }: Waiting, count: number, after: number): void {
  const end = buffer.length - after;
  let start = Math.max(bufferIndex, end - count);
  let size = 0;
  for (let index = start; index < end; index++) size += lengthAt(buffer, index);
  while (start > bufferIndex && lengthAt(buffer, start - 1) <= Math.min(size, SMALL)) size += lengthAt(buffer, --start);
  if (end - start < 2) return;
  const whole = Buffer.allocUnsafeSlow(size);
  let at = 0;
  for (const piece of buffer.splice(start, end - start, whole)) at += piece.copy(whole, at);
}

function lengthAt(buffer: readonly Buffer[], index: number): number {
  return buffer[index]?.length ?? 0;
}

function isWaiting(waiting: Partial<Waiting> | undefined): waiting is Waiting {
  return (
    Array.isArray(waiting?.buffer) && typeof waiting.bufferIndex === "number" && typeof waiting.length === "number"
  );
}
