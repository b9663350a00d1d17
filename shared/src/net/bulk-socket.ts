// Machine. A TCP socket for bulk and for very many connections: it reads into pooled buffers through `onread`, hands its
// bytes to a sink that can be replaced under way (first a handshake parser, then the pump), and ends by FIN or by RST.
// What is accepted (`accept-bulk.ts`) and what is dialled (`connect-bulk.ts`) are the same socket.
import type { Socket } from "node:net";
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { endpoint } from "./endpoint.ts";
import type { Endpoint } from "./endpoint.ts";
import { formatHostPort } from "./ip.ts";
import { releaseSlab, scratch, SLAB_BYTES, startSlabReader, stopSlabReader, takeSlab } from "./slabs.ts";

/** Reads of at least this many bytes are passed on in a slab, and the socket goes on to read into slabs; smaller ones are copied. */
const SMALL_READ = 16 * 1024;

/** Who takes the bytes of a `BulkSocket`. None of these may throw. */
export interface ByteSink {
  /**
   * Takes bytes, in order. Without `slab` the chunk is the sink's own. With it the chunk lies in that slab, which the
   * sink gives back by `releaseSlab` once it reads the bytes no more. `false` pauses the socket until `resume()`.
   */
  onBytes(chunk: Buffer, slab: Buffer | undefined): boolean;
  /** The other side has sent its FIN; every byte before it was handed over. */
  onEnd(): void;
  /** The socket is gone and nothing follows. `undefined` if it ended in order or by our own doing. */
  onClose(failure: Failure | undefined): void;
}

/** Reads to the end, for nobody. */
const NOBODY: ByteSink = {
  onBytes: (_chunk, slab) => {
    if (slab !== undefined) releaseSlab(slab);
    return true;
  },
  onEnd: () => {},
  onClose: () => {},
};

/** How a socket asks for buffers and hands over what it read. */
export interface OnRead {
  readonly buffer: () => Buffer;
  readonly callback: (length: number, buffer: Uint8Array) => boolean;
}

/** See the head of the file. Reads nothing before `resume()`; a sink must be set by then. */
export class BulkSocket {
  /** The socket below, for writing on the hot path (`write`, `cork`, `uncork`) and for its state. Reading is ours. */
  readonly socket: Socket;
  #sink: ByteSink | undefined;
  #leftover: Buffer[] | undefined;
  #bulk = false;
  #ended = false;
  #endTold = false;
  #closed = false;
  #failure: Failure | undefined;
  #remote: Endpoint | undefined;
  #local: Endpoint | undefined;
  /** It reads by 'data' events. */
  readonly #plain: boolean;
  /** Of the UNIX socket through which it came. */
  readonly #path: string | undefined;

  /** `makeSocket` makes a socket that does not read yet; `plain` says that it cannot take `onread`. */
  constructor(makeSocket: (onread: OnRead) => Socket, plain = false, path?: string) {
    this.#path = path;
    this.#plain = plain;
    this.socket = makeSocket({
      buffer: () => (this.#bulk ? takeSlab() : scratch),
      callback: (length, buffer) => this.#read(length, buffer),
    });
    this.socket.on("error", (error: NodeJS.ErrnoException) => {
      this.#failure ??= fail("APP_RESET", error.code ?? error.message);
    });
    this.socket.on("end", () => {
      this.#ended = true;
      this.#tellEnd();
    });
    this.socket.on("close", () => {
      this.#closed = true;
      this.#stopBulk();
      this.#leftover = undefined;
      this.#sink?.onClose(this.#failure);
    });
    if (plain) {
      this.socket.on("data", (chunk: Buffer) => {
        if (!this.#deliver(chunk, undefined)) this.socket.pause();
      });
      this.socket.pause();
    }
  }

  /**
   * The other side's address, or the one that it was said to speak for; `0.0.0.0:0` behind a UNIX socket. The first
   * question is to be asked while the socket lives.
   */
  get remote(): Endpoint {
    return (this.#remote ??= endpoint(this.socket.remoteAddress, this.socket.remotePort));
  }

  /** The same as text: `ip:port`, or `unix:/path` of the socket through which it came. */
  get source(): string {
    const { ip, port } = this.remote;
    return this.#path === undefined || port !== 0 ? formatHostPort(ip, port) : `unix:${this.#path}`;
  }

  /** Says for whom the other side speaks: a proxy in front has told it. */
  speaksFor(caller: Endpoint): void {
    this.#remote = caller;
  }

  /** Our own address: of a socket captured by TPROXY, the one that the application wanted. */
  get local(): Endpoint {
    return (this.#local ??= endpoint(this.socket.localAddress, this.socket.localPort));
  }

  /** Descriptor for socket options that the runtime does not offer; -1 when there is none. */
  get descriptor(): number {
    const handle = (this.socket as unknown as { _handle?: { fd?: number } | null })._handle;
    return handle?.fd ?? -1;
  }

  get destroyed(): boolean {
    return this.socket.destroyed;
  }

  /** Everything that is read from now on goes to `sink`; call `resume()` after it. */
  setSink(sink: ByteSink): void {
    this.#sink = sink;
    this.#endTold = false;
  }

  /** Reads on. What was given back comes first, and an end or a close that nobody was told of is told now. */
  resume(): void {
    const sink = this.#sink;
    if (sink === undefined) return;
    while (this.#leftover !== undefined) {
      const chunk = this.#leftover.shift();
      if (this.#leftover.length === 0) this.#leftover = undefined;
      if (chunk !== undefined && !sink.onBytes(chunk, undefined)) return;
    }
    if (this.#closed) sink.onClose(this.#failure);
    else if (this.#ended) this.#tellEnd();
    else this.socket.resume();
  }

  /** Stops reading; bytes that are in the kernel stay there. */
  pause(): void {
    this.socket.pause();
  }

  /** Gives back bytes that were read and belong to whoever takes the socket next; before those given back earlier. */
  unread(chunk: Buffer): void {
    if (chunk.length > 0) (this.#leftover ??= []).unshift(chunk);
  }

  /**
   * Gives the socket away to a reader in the runtime itself, such as its HTTP/2; it ends when the other side does. `undefined`, and
   * nothing has changed, where some of what was read would be missed.
   */
  release(): Socket | undefined {
    const { socket } = this;
    if (this.#plain || this.#leftover !== undefined || this.#ended || this.#closed || socket.destroyed)
      return undefined;
    this.#sink = NOBODY;
    socket.allowHalfOpen = false;
    // The runtime's reader takes what is read and does not begin to read.
    socket.read(0);
    return socket;
  }

  /**
   * The next bytes, for handshakes: `undefined` at FIN, a failure when the socket is gone. It sets a sink of its own and
   * pauses after each chunk. One call at a time; the caller's deadline is a `reset()`, which settles the call.
   */
  read(): Promise<Buffer | undefined | Failure> {
    return new Promise((resolve) => {
      this.setSink({
        onBytes: (chunk, slab) => {
          this.#sink = undefined;
          resolve(slab === undefined ? chunk : Buffer.from(chunk));
          if (slab !== undefined) releaseSlab(slab);
          return false;
        },
        onEnd: () => resolve(undefined),
        onClose: (failure) => resolve(failure ?? fail("DOWNSTREAM_CLOSED", "the connection is closed")),
      });
      this.resume();
    });
  }

  write(chunk: Buffer | string): boolean {
    return this.socket.write(chunk);
  }

  /** Ends our direction in order: FIN after everything written. */
  end(): void {
    this.socket.end();
  }

  /**
   * Ends both directions at once by a TCP reset, so that what is cut short never looks whole. UNIX sockets have no such
   * thing: there the other side sees a reset only if it had sent what nobody read.
   */
  reset(): void {
    const { socket } = this;
    if (this.#path !== undefined) {
      socket.destroy();
      return;
    }
    // The kernel call behind a reset is refused while our FIN is being sent, and the descriptor would be lost with it.
    if (socket.writableEnded && !socket.writableFinished && socket.writableLength === 0 && !socket.destroyed) {
      socket.once("finish", () => socket.resetAndDestroy());
    } else if (!socket.destroyed) {
      socket.resetAndDestroy();
    }
  }

  #tellEnd(): void {
    if (this.#endTold || this.#leftover !== undefined || this.#sink === undefined) return;
    this.#endTold = true;
    this.#sink.onEnd();
  }

  #read(length: number, buffer: Uint8Array): boolean {
    if (length < SMALL_READ) {
      const chunk = Buffer.allocUnsafe(length);
      chunk.set(buffer.subarray(0, length));
      if (buffer !== scratch) {
        releaseSlab(buffer as Buffer);
        this.#stopBulk();
      }
      return this.#deliver(chunk, undefined);
    }
    let slab = buffer as Buffer;
    if (slab === scratch) {
      slab = takeSlab();
      slab.set(length === SLAB_BYTES ? scratch : scratch.subarray(0, length));
      this.#bulk = startSlabReader();
    }
    return this.#deliver(length === SLAB_BYTES ? slab : slab.subarray(0, length), slab);
  }

  #stopBulk(): void {
    if (this.#bulk) stopSlabReader();
    this.#bulk = false;
  }

  #deliver(chunk: Buffer, slab: Buffer | undefined): boolean {
    if (this.#sink !== undefined) return this.#sink.onBytes(chunk, slab);
    (this.#leftover ??= []).push(slab === undefined ? chunk : Buffer.from(chunk));
    if (slab !== undefined) releaseSlab(slab);
    return false;
  }
}
