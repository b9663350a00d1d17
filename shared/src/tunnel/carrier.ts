// Machine. What a session inside a tunnel runs over: a stream that opens its tunnel as soon as it is made, and takes bytes until
// the tunnel is there.
import { Duplex } from "node:stream";
import { isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";

/**
 * A stream over what `open` comes to. It is destroyed when that fails, with an error of which `failureOf` tells the failure, and
 * when that is gone; destroying it destroys that.
 */
export function carrierOver(open: () => Promise<Duplex | Failure>): Duplex {
  return new Carrier(open);
}

/** The failure for which a carrier was destroyed. */
export function failureOf(error: Error): Failure | undefined {
  return error instanceof CarrierError ? error.failure : undefined;
}

class CarrierError extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.toString());
    this.failure = failure;
  }
}

class Carrier extends Duplex {
  readonly #open: () => Promise<Duplex | Failure>;
  #inner: Duplex | undefined;

  constructor(open: () => Promise<Duplex | Failure>) {
    // A session of which one direction has ended is of no use, and TLS takes this from the stream below it.
    super({ allowHalfOpen: false });
    // Field initialisers run after `super`, and `_construct` in a later turn.
    this.#open = open;
  }

  override _construct(callback: (error?: Error | null) => void): void {
    void this.#begin(callback);
  }

  override _read(): void {
    this.#inner?.resume();
  }

  override _write(chunk: Buffer | string, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#inner?.write(chunk, encoding, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#inner?.end(callback);
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#inner?.destroy();
    callback(error);
  }

  /** Never rejects: what opens tunnels answers with failures. */
  async #begin(callback: (error?: Error | null) => void): Promise<void> {
    const inner = await this.#open();
    if (isFailure(inner)) {
      callback(new CarrierError(inner));
      return;
    }
    this.#inner = inner;
    inner.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) inner.pause();
    });
    inner.on("end", () => this.push(null));
    inner.on("error", (error) => this.destroy(error));
    inner.on("close", () => this.destroy());
    callback();
  }
}
