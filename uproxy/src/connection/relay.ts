// Machine. Carries bytes, half-closes and resets between two TCP sockets, for destinations that are not in the mesh.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket, ByteSink } from "@culvert/shared/net/bulk-socket.ts";
import { releaseSlab } from "@culvert/shared/net/slabs.ts";
import type { Ended, Pump } from "@culvert/shared/tunnel/pump.ts";

/** Starts the relay; it takes over both sockets. `queueBytes` bounds what waits in one direction. */
export function relay(app: BulkSocket, destination: BulkSocket, queueBytes: number): Pump {
  return new Relay(app, destination, queueBytes);
}

class Relay implements Pump {
  readonly ended: Promise<Ended>;
  readonly #app: BulkSocket;
  readonly #destination: BulkSocket;
  readonly #up: Direction;
  readonly #down: Direction;
  #failure: Failure | undefined;
  #open = 2;
  #finish: (ended: Ended) => void = () => undefined;

  constructor(app: BulkSocket, destination: BulkSocket, queueBytes: number) {
    this.#app = app;
    this.#destination = destination;
    this.ended = new Promise((resolve) => (this.#finish = resolve));
    this.#up = new Direction(app, destination, queueBytes, (failure) =>
      this.#closed(failure === undefined ? undefined : fail("DOWNSTREAM_CLOSED", failure.detail)),
    );
    this.#down = new Direction(destination, app, queueBytes, (failure) =>
      this.#closed(failure === undefined ? undefined : fail("APP_RESET", failure.detail)),
    );
    this.#up.start();
    this.#down.start();
  }

  get fromSocket(): number {
    return this.#up.bytes;
  }

  get toSocket(): number {
    return this.#down.bytes;
  }

  abort(failure: Failure): void {
    this.#failure ??= failure;
    this.#app.reset();
    this.#destination.reset();
  }

  #closed(failure: Failure | undefined): void {
    if (failure !== undefined) this.abort(failure);
    this.#open -= 1;
    if (this.#open > 0) return;
    this.#finish({ fromSocket: this.fromSocket, toSocket: this.toSocket, failure: this.#failure });
  }
}

/** One direction: reads `from`, writes `to`, and stops reading while too much waits. */
class Direction implements ByteSink {
  bytes = 0;
  readonly #from: BulkSocket;
  readonly #to: BulkSocket;
  readonly #queueBytes: number;
  readonly #onClosed: (failure: Failure | undefined) => void;
  #waiting = 0;
  #paused = false;

  constructor(from: BulkSocket, to: BulkSocket, queueBytes: number, onClosed: (failure: Failure | undefined) => void) {
    this.#from = from;
    this.#to = to;
    this.#queueBytes = queueBytes;
    this.#onClosed = onClosed;
  }

  start(): void {
    this.#from.setSink(this);
    this.#from.resume();
  }

  onBytes(chunk: Buffer, slab: Buffer | undefined): boolean {
    const size = chunk.length;
    this.bytes += size;
    this.#waiting += size;
    this.#to.socket.write(chunk, () => {
      if (slab !== undefined) releaseSlab(slab);
      this.#waiting -= size;
      if (!this.#paused || this.#waiting > this.#queueBytes / 2) return;
      this.#paused = false;
      this.#from.resume();
    });
    this.#paused = this.#waiting >= this.#queueBytes;
    return !this.#paused;
  }

  onEnd(): void {
    this.#to.end();
  }

  onClose(failure: Failure | undefined): void {
    this.#onClosed(failure);
  }
}
