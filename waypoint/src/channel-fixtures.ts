// For tests: a channel whose other end is the test.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel, ByteSink } from "./channel/channel.ts";

/** Records what is done to it; the test plays the other end. */
export class FakeChannel implements ByteChannel {
  queued = 0;
  written = "";
  ended = false;
  resetBy: Failure | undefined;
  wasReset = false;
  paused = false;
  /** Answer of the next writes. */
  room = true;
  #sink: ByteSink | undefined;
  #endReceived = false;
  #closedBy: readonly [Failure | undefined] | undefined;

  get sink(): ByteSink {
    if (this.#sink === undefined) throw new Error("nobody reads this channel");
    return this.#sink;
  }

  /** Bytes from the other end, in a buffer that is overwritten at once, as lent ones are. */
  receive(text: string): void {
    const lent = Buffer.from(text, "latin1");
    this.sink.onBytes(lent, true);
    lent.fill(0x21);
  }

  receiveEnd(): void {
    this.#endReceived = true;
    this.sink.onEnd();
  }

  close(failure?: Failure): void {
    this.#closedBy = [failure];
    this.sink.onClose(failure);
  }

  drain(): void {
    this.room = true;
    this.sink.onDrain();
  }

  attach(sink: ByteSink): void {
    this.#sink = sink;
    if (this.#closedBy !== undefined) sink.onClose(this.#closedBy[0]);
    else if (this.#endReceived) sink.onEnd();
  }

  writeLatin1(text: string): boolean {
    return this.writeBytes(Buffer.from(text, "latin1"));
  }

  writeBytes(bytes: Uint8Array): boolean {
    this.written += Buffer.from(bytes).toString("latin1");
    return this.room;
  }

  end(): void {
    this.ended = true;
  }

  reset(failure: Failure | undefined): void {
    this.resetBy = failure;
    this.wasReset = true;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }
}
