// Machine. The listening sockets of this process together: all of them pause when descriptors run out, and all of them are
// handed over when the process drains, so that no connection is lost that the kernel has made and nobody has accepted yet.
//
// A port may be shared by two processes (SO_REUSEPORT), and the kernel deals new connections out between them. What lies in
// the queue of a socket that is closed is reset, and that is what an upgrade would lose: under load some hundred connections
// in ten upgrades. So the one that leaves first has the kernel give all new ones to its successor, goes on accepting until
// nothing has come for a while, and only then closes.
import type { Server } from "node:net";
import type { Clock } from "./clock.ts";
import { findListenCalls, type ListenCalls } from "./listen-calls.ts";

/** A handshake of TCP that was under way takes a round trip. */
const QUIET_MS = 250;
/** Without a successor they never stop coming; longer than this nobody is waited for. */
const MOST_MS = 2_000;
const LOOK_MS = 50;

/** A place that new connections are steered to: the older of two processes joined the port first. */
const SUCCESSOR = 1;
const PREDECESSOR = 0;

/** See the head of the file. */
export class Listeners {
  /** Whether the socket carries traffic; the others, for probes and operators, never pause. */
  readonly #servers = new Map<Server, { readonly traffic: boolean }>();
  readonly #find: () => ListenCalls | undefined;
  #calls: ListenCalls | undefined;
  #looked = false;
  #beside = false;
  #paused = false;
  #accepted = 0;

  /** `find` is asked once, when the first call is needed. */
  constructor(find: () => ListenCalls | undefined = findListenCalls) {
    this.#find = find;
  }

  /** Whether this process may bind ports that another one already listens on. */
  get beside(): boolean {
    return this.#beside;
  }

  /** From now on ports are bound beside a process that is to be taken over from. */
  bindBeside(): void {
    this.#beside = true;
  }

  /** Takes a server that listens; it leaves when it is closed. */
  add(server: Server, traffic: boolean): void {
    this.#servers.set(server, { traffic });
    server.on("close", () => this.#servers.delete(server));
    server.on("connection", () => this.accepted());
    if (!this.#paused || !traffic) return;
    // The event loop takes a socket up at its next turn; before that there is nothing to pause.
    setImmediate(() => this.#paused && this.#watch(server, false));
  }

  /** Notes a connection that was accepted without the server's own event. */
  accepted(): void {
    this.#accepted += 1;
  }

  /** Leaves new connections to the kernel's queue. `false` where that cannot be done. */
  pause(): boolean {
    this.#paused = true;
    let done = true;
    for (const [server, { traffic }] of this.#servers) if (traffic) done = this.#watch(server, false) && done;
    return done;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    for (const [server, { traffic }] of this.#servers) if (traffic) this.#watch(server, true);
  }

  /** Leaves the ports to whoever listens beside us; resolves once these sockets can be closed without a loss. */
  handOver(clock: Clock): Promise<void> {
    return this.#steer(SUCCESSOR, clock);
  }

  /** Leaves the ports to the process that was to be taken over from: the start has failed. */
  giveBack(clock: Clock): Promise<void> {
    return this.#beside ? this.#steer(PREDECESSOR, clock) : Promise.resolve();
  }

  #steer(index: number, clock: Clock): Promise<void> {
    for (const server of this.#servers.keys()) {
      const descriptor = descriptorOf(server);
      if (descriptor !== undefined) this.#kernel?.steer(descriptor, index);
    }
    const startedMs = clock.monotonic();
    let quietSinceMs = startedMs;
    let seen = this.#accepted;
    return new Promise((resolve) => {
      const timer = clock.every(LOOK_MS, () => {
        const now = clock.monotonic();
        if (this.#accepted !== seen) {
          seen = this.#accepted;
          quietSinceMs = now;
        }
        if (now - quietSinceMs < QUIET_MS && now - startedMs < MOST_MS) return;
        timer.cancel();
        resolve();
      });
    });
  }

  #watch(server: Server, on: boolean): boolean {
    const descriptor = descriptorOf(server);
    return descriptor === undefined || (this.#kernel?.watch(descriptor, on) ?? false);
  }

  get #kernel(): ListenCalls | undefined {
    if (!this.#looked) this.#calls = this.#find();
    this.#looked = true;
    return this.#calls;
  }
}

/** A private piece of the runtime; without it a server neither pauses nor is steered. */
function descriptorOf(server: Server): number | undefined {
  const fd = (server as unknown as { _handle?: { fd?: number } | null })._handle?.fd;
  return fd === undefined || fd < 0 ? undefined : fd;
}

/** The listeners of this process: there is one event loop and one queue per socket, so there is one of it. */
export const processListeners: Listeners = new Listeners();
