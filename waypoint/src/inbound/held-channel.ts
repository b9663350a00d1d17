// Machine. Keeps what a connection brings until it is known who serves it, then hands it over whole and in order.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel, ByteSink } from "../channel/channel.ts";

/** Bytes kept at most before the sender is held back by flow control. */
const MOST_HELD = 64 * 1024;

/** The first owner of a channel: reads, keeps, and tells of each change. */
export class HeldChannel implements ByteSink {
  readonly #channel: ByteChannel;
  readonly #changed: () => void;
  #bytes: Buffer = Buffer.alloc(0);
  #length = 0;
  #ended = false;
  #closed = false;
  #failure: Failure | undefined;
  #handedOver = false;

  /** @param changed called after bytes, the end, or the close of the channel; never after `handOver` */
  constructor(channel: ByteChannel, changed: () => void) {
    this.#channel = channel;
    this.#changed = changed;
  }

  /** Starts to read. */
  start(): void {
    this.#channel.attach(this);
  }

  /** Everything received so far. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** The sender will send nothing more. */
  get ended(): boolean {
    return this.#ended || this.#closed;
  }

  /** The channel is gone. */
  get closed(): boolean {
    return this.#closed;
  }

  /** What broke the channel, if something has. */
  get failure(): Failure | undefined {
    return this.#failure;
  }

  /** The channel as if nobody had read from it. To be called once. */
  handOver(): ByteChannel {
    this.#handedOver = true;
    return new ReplayedChannel(this.#channel, this);
  }

  /** Ends the channel without an owner. */
  abandon(failure: Failure): void {
    this.#handedOver = true;
    if (!this.#closed) this.#channel.reset(failure);
  }

  onBytes(chunk: Buffer): void {
    if (this.#length + chunk.length > this.#bytes.length) {
      // Doubled, so that bytes that come one by one are not copied anew for each.
      const larger = Buffer.allocUnsafeSlow(2 * (this.#length + chunk.length));
      this.#bytes.copy(larger, 0, 0, this.#length);
      this.#bytes = larger;
    }
    chunk.copy(this.#bytes, this.#length);
    this.#length += chunk.length;
    if (this.#length >= MOST_HELD) this.#channel.pause();
    this.#tell();
  }

  onEnd(): void {
    this.#ended = true;
    this.#tell();
  }

  onDrain(): void {}

  onClose(failure: Failure | undefined): void {
    this.#closed = true;
    this.#failure = failure;
    this.#tell();
  }

  #tell(): void {
    if (!this.#handedOver) this.#changed();
  }
}

/** A channel that begins with what was held. */
class ReplayedChannel implements ByteChannel {
  readonly #channel: ByteChannel;
  readonly #held: HeldChannel;
  #paused = false;
  #replayed = false;

  constructor(channel: ByteChannel, held: HeldChannel) {
    this.#channel = channel;
    this.#held = held;
  }

  get queued(): number {
    return this.#channel.queued;
  }

  attach(sink: ByteSink): void {
    if (this.#replayed) return this.#channel.attach(sink);
    this.#replayed = true;
    const { bytes, closed } = this.#held;
    if (bytes.length > 0) sink.onBytes(bytes, false);
    // An end or a close that has come is told at once by the channel itself.
    this.#channel.attach(sink);
    if (closed) return undefined;
    if (this.#paused) this.#channel.pause();
    else this.#channel.resume();
    return undefined;
  }

  writeLatin1(text: string): boolean {
    return this.#channel.writeLatin1(text);
  }

  writeBytes(bytes: Uint8Array): boolean {
    return this.#channel.writeBytes(bytes);
  }

  end(): void {
    this.#channel.end();
  }

  reset(failure: Failure | undefined): void {
    this.#channel.reset(failure);
  }

  pause(): void {
    this.#paused = true;
    this.#channel.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#channel.resume();
  }
}
