// Machine. Carries bytes, half-closes and resets between two channels, both ways, without reading them.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import { stalledTunnels } from "@culvert/shared/tunnel/stalled.ts";
import type { ByteChannel, ByteSink } from "../channel/channel.ts";

/** How a relay ended. */
export interface OpaqueEnded {
  readonly fromClient: number;
  readonly toClient: number;
  /** `undefined`: both sides ended in order. */
  readonly failure: Failure | undefined;
}

export interface OpaqueOptions {
  readonly client: ByteChannel;
  readonly upstream: ByteChannel;
  readonly clock: Clock;
  /** A relay of which one direction has ended and the other is silent is ended after this. */
  readonly halfClosedIdleMs: number;
  /** Called once. */
  readonly onEnd: (ended: OpaqueEnded) => void;
}

/**
 * A TCP connection passed through. FIN becomes FIN while the other direction goes on; what breaks on one side is reset
 * on the other, so that truncation never looks whole; who reads slowly holds back who writes.
 */
export class OpaqueRelay {
  readonly #options: OpaqueOptions;
  readonly #fromClient: Direction;
  readonly #fromUpstream: Direction;
  #timer: Timer | undefined;
  #quietSince = 0;
  #over = false;

  constructor(options: OpaqueOptions) {
    this.#options = options;
    this.#fromClient = new Direction(this, options.client, options.upstream);
    this.#fromUpstream = new Direction(this, options.upstream, options.client);
    this.#fromClient.opposite = this.#fromUpstream;
    this.#fromUpstream.opposite = this.#fromClient;
  }

  /** Bytes carried so far. */
  get fromClient(): number {
    return this.#fromClient.bytes;
  }

  get toClient(): number {
    return this.#fromUpstream.bytes;
  }

  start(): void {
    this.#options.upstream.attach(this.#fromUpstream);
    this.#options.client.attach(this.#fromClient);
  }

  /** Ends both sides at once, abruptly. */
  abort(failure: Failure): void {
    if (this.#over) return;
    this.#options.client.reset(failure);
    this.#options.upstream.reset(failure);
    this.#finish(failure);
  }

  /** For its directions: one of them has ended in order. */
  halfClosed(): void {
    if (this.#over || this.#timer !== undefined) return;
    this.#watch(this.fromClient + this.toClient);
  }

  /** For its directions: the channel that one of them reads from is gone. */
  closed(failure: Failure | undefined): void {
    if (this.#over) return;
    if (failure !== undefined) return this.abort(failure);
    if (this.#fromClient.closed && this.#fromUpstream.closed) this.#finish(undefined);
  }

  #watch(carried: number): void {
    const { clock, halfClosedIdleMs } = this.#options;
    this.#quietSince = carried;
    this.#timer = clock.after(halfClosedIdleMs, () => {
      const now = this.fromClient + this.toClient;
      if (now !== this.#quietSince) return this.#watch(now);
      this.abort(fail("DOWNSTREAM_CLOSED", `half-closed and silent for ${halfClosedIdleMs} ms`));
    });
  }

  #finish(failure: Failure | undefined): void {
    this.#over = true;
    this.#timer?.cancel();
    this.#fromClient.stop();
    this.#fromUpstream.stop();
    this.#options.onEnd({ fromClient: this.fromClient, toClient: this.toClient, failure });
  }
}

/** What one side sends, on its way to the other. */
class Direction implements ByteSink {
  bytes = 0;
  closed = false;
  opposite: Direction | undefined;
  readonly #relay: OpaqueRelay;
  readonly #source: ByteChannel;
  readonly #target: ByteChannel;
  #held = false;
  #stopped = false;

  constructor(relay: OpaqueRelay, source: ByteChannel, target: ByteChannel) {
    this.#relay = relay;
    this.#source = source;
    this.#target = target;
  }

  onBytes(chunk: Buffer, lent: boolean): void {
    this.bytes += chunk.length;
    if (this.#target.writeBytes(lent ? Buffer.from(chunk) : chunk)) return;
    this.#source.pause();
    this.#hold(true);
  }

  onEnd(): void {
    this.#target.end();
    this.#relay.halfClosed();
  }

  /** There is room again where this side's reader writes to: that is the opposite direction's target. */
  onDrain(): void {
    this.opposite?.goOn();
  }

  goOn(): void {
    if (!this.#held) return;
    this.#hold(false);
    this.#source.resume();
  }

  /** The relay is over, and what is still held goes with it. */
  stop(): void {
    this.#hold(false);
    this.#stopped = true;
  }

  /** A stream that is held back may fill its window, which is what new tunnels are refused for when many are. */
  #hold(held: boolean): void {
    if (this.#stopped || held === this.#held) return;
    this.#held = held;
    stalledTunnels.count += held ? 1 : -1;
  }

  onClose(failure: Failure | undefined): void {
    this.closed = true;
    this.#relay.closed(failure);
  }
}
