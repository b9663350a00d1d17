// Machine. A TCP socket as a byte channel.
import type { Socket } from "node:net";
import { type Failure, type FailureCode, fail } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket, ByteSink as BulkSink } from "@culvert/shared/net/bulk-socket.ts";
import { releaseSlab } from "@culvert/shared/net/slabs.ts";
import type { ByteChannel, ByteSink } from "./channel.ts";

/**
 * Takes over a socket that nobody else reads from now on. `leads` says who is at its other end, and so whose failure it is
 * when it breaks.
 */
export function socketChannel(bulk: BulkSocket, leads: "downstream" | "upstream" = "upstream"): ByteChannel {
  return new SocketChannel(bulk, leads === "upstream" ? "APP_RESET" : "DOWNSTREAM_CLOSED");
}

class SocketChannel implements ByteChannel, BulkSink {
  readonly #bulk: BulkSocket;
  readonly #broken: FailureCode;
  #sink: ByteSink | undefined = undefined;
  #paused = false;
  #ended = false;
  #taken = false;

  constructor(bulk: BulkSocket, broken: FailureCode) {
    this.#bulk = bulk;
    this.#broken = broken;
    bulk.socket.on("drain", () => this.#sink?.onDrain());
  }

  get queued(): number {
    const { socket } = this.#bulk;
    // Who writes below the socket does not say how much, but the end comes after all of it.
    if (this.#taken) return socket.writableFinished || socket.destroyed ? 0 : 1;
    return socket.writableLength;
  }

  takeSocket(): Socket | undefined {
    if (this.#sink !== undefined) return undefined;
    const socket = this.#bulk.release();
    this.#taken = socket !== undefined;
    return socket;
  }

  attach(sink: ByteSink): void {
    this.#sink = sink;
    this.#paused = false;
    this.#bulk.setSink(this);
    this.#bulk.resume();
  }

  writeLatin1(text: string): boolean {
    return this.#bulk.socket.write(text, "latin1");
  }

  writeBytes(bytes: Uint8Array): boolean {
    return this.#bulk.socket.write(bytes);
  }

  end(): void {
    this.#ended = true;
    this.#bulk.end();
  }

  reset(failure: Failure | undefined): void {
    // After our FIN nothing is left that could look whole and is not: what was written may still arrive.
    if (this.#ended && failure === undefined) this.#bulk.socket.destroySoon();
    else this.#bulk.reset();
  }

  pause(): void {
    this.#paused = true;
    this.#bulk.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#bulk.resume();
  }

  onBytes(chunk: Buffer, slab: Buffer | undefined): boolean {
    this.#sink?.onBytes(chunk, slab !== undefined);
    if (slab !== undefined) releaseSlab(slab);
    return !this.#paused;
  }

  onEnd(): void {
    this.#sink?.onEnd();
  }

  onClose(failure: Failure | undefined): void {
    const { socket } = this.#bulk;
    // A socket that was destroyed before both FINs were seen has not ended in order.
    if (failure === undefined && socket.readableEnded && socket.writableFinished) this.#sink?.onClose(undefined);
    else this.#sink?.onClose(fail(this.#broken, failure?.detail ?? "closed"));
  }
}
