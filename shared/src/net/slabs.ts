// Machine. The process-wide store of read buffers: sockets that move bulk read into slabs and pass them on without a copy,
// all others share one scratch buffer, so that an idle connection holds no buffer at all.

/** Size of one read. Larger reads saved calls but no measurable time. */
export const SLAB_BYTES = 64 * 1024;

/** Free slabs kept for reuse, 1 MiB in all: a busy process takes and returns them thousands of times a second. */
const KEPT_SLABS = 16;

/** Sockets that may read into a slab of their own at once, 2 MiB in all: such a socket holds it while it is idle, too. */
const MAX_READERS = 32;

const free: Buffer[] = [];
let readers = 0;

/**
 * Where every socket reads that does not move bulk. Sharing is safe because the runtime asks for the buffer, reads and
 * hands it over in one go; whoever is handed it copies before doing anything else.
 */
export const scratch: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);

/** A slab that nobody else holds. Its contents are old bytes. */
export function takeSlab(): Buffer {
  return free.pop() ?? Buffer.allocUnsafeSlow(SLAB_BYTES);
}

/** Gives a slab back. Only for whole slabs, once each, and when nothing reads them any more. */
export function releaseSlab(slab: Buffer): void {
  if (free.length < KEPT_SLABS) free.push(slab);
}

/** Asks leave to read into slabs; `false` when enough sockets do. */
export function startSlabReader(): boolean {
  if (readers >= MAX_READERS) return false;
  readers += 1;
  return true;
}

/** Gives the leave back. */
export function stopSlabReader(): void {
  readers -= 1;
}

/** Drops the free slabs, for the moment when load has ended and memory goes back to the system. */
export function dropFreeSlabs(): void {
  free.length = 0;
}

/** What is held at present, for tests. */
export function heldSlabs(): { readonly free: number; readonly readers: number } {
  return { free: free.length, readers };
}
