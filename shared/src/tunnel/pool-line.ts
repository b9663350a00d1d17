// Machine. Everything that the pool holds for one peer proxy: its sessions, the one dial, and who waits for it.
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { backoffDelay } from "../net/backoff.ts";
import type { Clock, Timer } from "../net/clock.ts";
import type { TunnelLimits } from "./limits.ts";
import type { TunnelSession } from "./session.ts";

/** A failing peer is left alone for this long: soon at first, for peers restart; then less and less often. */
const BACKOFF = { baseMs: 100, capMs: 5_000 };
/** Failures are remembered for this long after the last, so that the next one waits longer. */
const REMEMBER_MS = 60_000;

export interface PoolLineOptions {
  readonly limits: TunnelLimits;
  readonly clock: Clock;
  /** Starts a dial under the identity of now. */
  readonly dial: (line: PoolLine) => TunnelSession | Failure;
  /** The key that a session must have to be handed out now. */
  readonly currentKey: () => string;
}

interface Waiter {
  readonly settle: (result: TunnelSession | Failure) => void;
  readonly deadline: Timer;
}

/** See the head of the file. All of it is keyed by expected identities and address; identity versions come and go in it. */
export class PoolLine {
  readonly #options: PoolLineOptions;
  readonly #sessions = new Set<TunnelSession>();
  readonly #waiters = new Set<Waiter>();
  #dialling: TunnelSession | undefined;
  #failures = 0;
  #lastFailure: Failure | undefined;
  #notBeforeMs = -Infinity;
  #peerStreams: number | undefined;

  constructor(options: PoolLineOptions) {
    this.#options = options;
  }

  get sessions(): ReadonlySet<TunnelSession> {
    return this.#sessions;
  }

  /** Concurrent streams that the peer last said it allows on one session. */
  get peerStreams(): number | undefined {
    for (const session of this.#sessions) this.#learn(session);
    return this.#peerStreams;
  }

  /** Tunnels open, being opened or waited for. */
  get inFlight(): number {
    let streams = this.#waiters.size;
    for (const session of this.#sessions) streams += session.streams;
    return streams;
  }

  /** Nothing is held and nothing worth remembering: the line may be forgotten. */
  get empty(): boolean {
    if (this.#sessions.size > 0 || this.#waiters.size > 0 || this.#dialling !== undefined) return false;
    return this.#failures === 0 || this.#options.clock.monotonic() > this.#notBeforeMs + REMEMBER_MS;
  }

  /** A session with one stream reserved: at once if one has room, else with the next dial or the next stream that ends. */
  session(): TunnelSession | Promise<TunnelSession | Failure> | Failure {
    const ready = this.#reserve();
    if (ready !== undefined) return ready;
    const { limits, clock } = this.#options;
    if (this.#waiters.size >= limits.maxWaitersPerKey) return fail("TOO_MANY_WAITERS", `${this.#waiters.size} wait`);
    const refused = this.#dialIfNeeded();
    if (refused !== undefined) return refused;
    const waitMs = limits.connectTimeoutMs + limits.handshakeTimeoutMs;
    return new Promise((settle) => {
      const waiter: Waiter = {
        settle,
        deadline: clock.after(waitMs, () => {
          this.#waiters.delete(waiter);
          settle(fail("PEER_TIMEOUT", `no room on any session in ${waitMs} ms`));
        }),
      };
      this.#waiters.add(waiter);
    });
  }

  /** A dial is over; if it is not the one that is waited for, nothing comes of it. */
  dialled(session: TunnelSession, failure: Failure | undefined): void {
    const expected = session === this.#dialling;
    if (expected) this.#dialling = undefined;
    if (failure === undefined) {
      this.#sessions.add(session);
      if (expected) this.serve();
      else session.drain();
    } else if (expected) {
      this.#countFailure(failure);
      this.#settleAll(failure);
    }
  }

  /** A session that was ready is gone. */
  closed(session: TunnelSession, failure: Failure | undefined): void {
    this.#sessions.delete(session);
    this.#learn(session);
    // A peer that takes sessions and answers nothing on them is as bad as one that takes none.
    if (session.answered) this.#failures = 0;
    else if (failure !== undefined || session.opened > 0) {
      this.#countFailure(
        failure ?? fail("PEER_REFUSED_STREAM", `${session.remote} ended the session without any answer`),
      );
    }
    this.serve();
  }

  /** Hands places to those who wait, oldest first, and dials for the rest. */
  serve(): void {
    for (const waiter of this.#waiters) {
      const session = this.#reserve();
      if (session === undefined) break;
      this.#waiters.delete(waiter);
      waiter.deadline.cancel();
      waiter.settle(session);
    }
    if (this.#waiters.size === 0) return;
    const refused = this.#dialIfNeeded();
    if (refused !== undefined) this.#settleAll(refused);
  }

  /** No session of now is used again, and who waits gets a new one; open streams go on. */
  retire(): void {
    const dialling = this.#dialling;
    this.#dialling = undefined;
    dialling?.end(fail("DRAINING", "retired"));
    for (const session of this.#sessions) session.drain();
    this.serve();
  }

  /** Ends all at once. */
  end(failure: Failure): void {
    this.#settleAll(failure);
    this.#dialling?.end(failure);
    for (const session of this.#sessions) session.end(failure);
  }

  tick(): void {
    for (const session of this.#sessions) session.tick();
  }

  #learn(session: TunnelSession): void {
    this.#peerStreams = session.peerStreams ?? this.#peerStreams;
  }

  #reserve(): TunnelSession | undefined {
    const key = this.#options.currentKey();
    for (const session of this.#sessions) {
      // Compared in full: a session is never lent to another identity, expectation or address, whatever led here.
      if (session.key === key && session.reserve()) return session;
    }
    return undefined;
  }

  #dialIfNeeded(): Failure | undefined {
    const { limits, clock, dial } = this.#options;
    if (this.#dialling !== undefined) return undefined;
    const waitMs = this.#notBeforeMs - clock.monotonic();
    if (waitMs > 0 && this.#lastFailure !== undefined) {
      const { code, detail } = this.#lastFailure;
      return fail(code, `${detail} (next try in ${Math.ceil(waitMs)} ms)`);
    }
    // At the bound the caller waits for a stream to end.
    if (this.#sessions.size >= limits.maxSessionsPerKey) return undefined;
    const session = dial(this);
    if (isFailure(session)) return session;
    this.#dialling = session;
    return undefined;
  }

  #countFailure(failure: Failure): void {
    this.#failures += 1;
    this.#lastFailure = failure;
    this.#notBeforeMs = this.#options.clock.monotonic() + backoffDelay(BACKOFF, this.#failures, Math.random());
  }

  #settleAll(failure: Failure): void {
    for (const waiter of this.#waiters) {
      this.#waiters.delete(waiter);
      waiter.deadline.cancel();
      waiter.settle(failure);
    }
  }
}
