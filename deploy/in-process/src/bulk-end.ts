// Machine. Our end of a plain TCP connection, below a `Duplex` that stands for it: the counterpart of the tunnel's `StreamEnd`.
import type { Duplex } from "node:stream";
import type { BulkSocket, ByteSink } from "@culvert/shared/net/bulk-socket.ts";
import { releaseSlab } from "@culvert/shared/net/slabs.ts";
import type { Taken } from "@culvert/shared/tunnel/stream-end.ts";

/** See the head of the file. */
export class BulkEnd implements ByteSink {
  readonly #bulk: BulkSocket;
  readonly #owner: Duplex;
  readonly #onLost: () => void;
  #ended = false;

  /** @param onLost called when the socket is gone before the connection was over */
  constructor(bulk: BulkSocket, owner: Duplex, onLost: () => void) {
    this.#bulk = bulk;
    this.#owner = owner;
    this.#onLost = onLost;
    bulk.setSink(this);
  }

  /** Whether the other side has ended its direction. */
  get ended(): boolean {
    return this.#ended;
  }

  read(): void {
    this.#bulk.resume();
  }

  write(chunk: Buffer | string, encoding: BufferEncoding, taken: Taken): void {
    this.#bulk.socket.write(chunk, encoding, taken);
  }

  end(taken: Taken): void {
    this.#bulk.socket.end(taken);
  }

  reset(): void {
    this.#bulk.reset();
  }

  /** The kernel ends it as it ends every socket that is closed. */
  leave(): void {
    this.#bulk.socket.destroy();
  }

  onBytes(chunk: Buffer, slab: Buffer | undefined): boolean {
    // A slab is used again as soon as it is given back, and nobody tells when the application has read it.
    if (slab === undefined) return this.#owner.push(chunk);
    const more = this.#owner.push(Buffer.from(chunk));
    releaseSlab(slab);
    return more;
  }

  onEnd(): void {
    this.#ended = true;
    this.#owner.push(null);
  }

  onClose(): void {
    if (!this.#ended || !this.#owner.writableFinished) this.#onLost();
  }
}
