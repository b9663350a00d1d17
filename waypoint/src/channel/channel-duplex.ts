// Machine. A byte channel as a plain `Duplex`, so that the runtime's HTTP/2 and TLS run over a socket and over a stream of a tunnel
// alike. `shared/tunnel/duplex.ts` is the same for a stream that no channel stands before.
import { Duplex } from "node:stream";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel, ByteSink } from "./channel.ts";

/** Frames that are written together up to this size become one write: each write costs more than copying so many bytes. */
const GATHERED_BYTES = 64 * 1024;

/** Why a duplex was destroyed, where a `Failure` says it: of a channel that broke, or for a channel that is to be reset. */
export class ChannelError extends Error {
  readonly code = "ECONNRESET";
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.toString());
    this.failure = failure;
  }
}

/**
 * Takes over a channel. Its end and `end()` are the half-closes of either direction. A channel that breaks destroys the duplex with a
 * `ChannelError`; `destroy()` of a duplex that is not over resets the channel, for the failure of the `ChannelError` that it is given.
 */
export function channelDuplex(channel: ByteChannel): Duplex {
  return new ChannelDuplex(channel);
}

/**
 * The same for a session of HTTP/2, which needs no ends of its own directions: where the channel is but a socket it is that, so that no
 * byte takes the way through streams.
 */
export function sessionCarrier(channel: ByteChannel): Duplex {
  return channel.takeSocket?.() ?? channelDuplex(channel);
}

class ChannelDuplex extends Duplex implements ByteSink {
  readonly #channel: ByteChannel;
  #paused = false;
  #endReceived = false;
  #closed = false;
  /** To be called when what was written has been taken. */
  #taken: ((error?: Error | null) => void) | undefined = undefined;

  constructor(channel: ByteChannel) {
    super({ allowHalfOpen: true });
    this.#channel = channel;
    channel.attach(this);
  }

  onBytes(chunk: Buffer, lent: boolean): void {
    if (this.push(lent ? Buffer.from(chunk) : chunk) || this.destroyed) return;
    this.#paused = true;
    this.#channel.pause();
  }

  onEnd(): void {
    if (this.#endReceived) return;
    this.#endReceived = true;
    this.push(null);
  }

  onDrain(): void {
    const taken = this.#taken;
    this.#taken = undefined;
    taken?.();
  }

  onClose(failure: Failure | undefined): void {
    this.#closed = true;
    if (failure !== undefined) this.destroy(new ChannelError(failure));
    else this.onDrain();
  }

  override _read(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#channel.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#wrote(this.#channel.writeBytes(chunk), callback);
  }

  override _writev(chunks: readonly { readonly chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    let room = true;
    let from = 0;
    let bytes = 0;
    for (let index = 0; index < chunks.length; index += 1) {
      const length = chunks[index]?.chunk.length ?? 0;
      if (bytes > 0 && bytes + length > GATHERED_BYTES) {
        room = this.#writeTogether(chunks, from, index, bytes);
        from = index;
        bytes = 0;
      }
      bytes += length;
    }
    this.#wrote(this.#writeTogether(chunks, from, chunks.length, bytes) && room, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#channel.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const taken = this.#taken;
    this.#taken = undefined;
    const isOver = this.#closed || (this.#endReceived && this.writableFinished);
    if (!isOver) this.#channel.reset(error instanceof ChannelError ? error.failure : undefined);
    // What was written last was not taken: whoever waits for it must not go on as if it had been.
    taken?.(error ?? new Error("destroyed"));
    callback(error);
  }

  #writeTogether(chunks: readonly { readonly chunk: Buffer }[], from: number, to: number, bytes: number): boolean {
    const first = chunks[from]?.chunk;
    if (first === undefined) return true;
    if (to - from === 1) return this.#channel.writeBytes(first);
    const whole = Buffer.allocUnsafe(bytes);
    let at = 0;
    for (let index = from; index < to; index += 1) at += chunks[index]?.chunk.copy(whole, at) ?? 0;
    return this.#channel.writeBytes(whole);
  }

  #wrote(room: boolean, callback: (error?: Error | null) => void): void {
    // A close in order may have come during the write: nothing will tell of room then.
    if (room || this.#closed) callback();
    else this.#taken = callback;
  }
}
