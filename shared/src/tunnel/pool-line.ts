// Machine. Everything that the pool holds for one peer proxy: its sessions, the one dial, and who waits for it. It is one thing: who
// gets which session, and when the next one is dialled.
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Identity } from "../identity/source.ts";
import { backoffDelay } from "../net/backoff.ts";
import type { Clock, Timer } from "../net/clock.ts";
import type { TunnelLimits } from "./limits.ts";
import type { PoolShares, PoolUser } from "./pool-shares.ts";
import type { TunnelSession } from "./session.ts";

/** A failing peer is left alone for this long: soon at first, for peers restart; then less and less often. */
const BACKOFF = { baseMs: 100, capMs: 5_000 };
/** The same while nobody waits for it. */
const UNASKED_BACKOFF = { baseMs: 1_000, capMs: 30_000 };
/** Failures are remembered for this long after the last, so that the next one waits longer. */
const REMEMBER_MS = 60_000;
/** A session that nobody has used for this long needs no successor. */
const IN_USE_MS = 10_000;
/** A session is nearly full at this share of its streams, if it may have that many at all. */
const NEARLY_FULL = 0.75;
const AHEAD_STREAMS = 12;
/** Sessions to the peers behind one gateway: it chooses anew for each, so that these reach most of any number. */
const MOST_ACROSS = 8;

export interface PoolLineOptions {
  /** What each session of the line must have for its key. */
  readonly key: string;
  readonly limits: TunnelLimits;
  readonly clock: Clock;
  readonly shares: PoolShares;
  /** Starts a dial under the identity of now. */
  readonly dial: (line: PoolLine) => TunnelSession | Failure;
  readonly identity: () => Identity;
}

interface Waiter {
  readonly user: PoolUser | undefined;
  readonly settle: (result: TunnelSession | Failure) => void;
  readonly deadline: Timer;
}

/** See the head of the file. All of it is keyed by expected identities and address; identity versions come and go in it. */
export class PoolLine {
  readonly #options: PoolLineOptions;
  readonly #sessions = new Set<TunnelSession>();
  readonly #waiters = new Set<Waiter>();
  /** One session is kept ready even if nobody asks. */
  #warm = false;
  /** Sessions that the tunnels are spread over, however few they are: more than one behind a gateway. */
  #across = 1;
  #dialling: TunnelSession | undefined;
  #failures = 0;
  #lastFailure: Failure | undefined;
  #notBeforeMs = -Infinity;
  #unaskedNotBeforeMs = -Infinity;
  #peerStreams: number | undefined;

  constructor(options: PoolLineOptions) {
    this.#options = options;
  }

  get sessions(): ReadonlySet<TunnelSession> {
    return this.#sessions;
  }

  /** Callers that wait for a place. */
  get waiting(): number {
    return this.#waiters.size;
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
    if (this.#warm || this.#sessions.size > 0 || this.#waiters.size > 0 || this.#dialling !== undefined) return false;
    return this.#failures === 0 || this.#options.clock.monotonic() > this.#notBeforeMs + REMEMBER_MS;
  }

  /**
   * A session with one stream reserved: at once if one has room, else with the next dial or the next stream that ends.
   *
   * @param user for whom it is; see `PoolUser`
   */
  session(user?: PoolUser): TunnelSession | Promise<TunnelSession | Failure> | Failure {
    const ready = this.#reserve();
    if (ready !== undefined) {
      const { streams } = ready;
      if (this.#across > 1 || streams >= AHEAD_STREAMS || streams >= this.#options.limits.busyStreams)
        this.#spread(ready);
      return ready;
    }
    const { limits, clock, shares } = this.#options;
    if (this.#waiters.size >= limits.maxWaitersPerKey) return fail("TOO_MANY_WAITERS", `${this.#waiters.size} wait`);
    if (!shares.mayWait(user)) {
      if (user === undefined) return fail("TOO_MANY_WAITERS", `${shares.waiting} wait for all peers`);
      return fail("TENANT_OVER_SHARE", `${user.waiting} of its connections wait for all peers`);
    }
    const refused = this.#dialIfNeeded(user);
    if (refused !== undefined) return refused;
    const waitMs = limits.connectTimeoutMs + limits.handshakeTimeoutMs;
    shares.waitBegun(user);
    return new Promise((settle) => {
      const waiter: Waiter = {
        user,
        settle,
        deadline: clock.after(waitMs, () => {
          this.#settle(waiter, fail("PEER_TIMEOUT", `no room on any session in ${waitMs} ms`));
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
      this.#options.shares.sessions += 1;
      if (expected) this.#succeeded(session);
      else session.drain();
    } else if (expected) {
      this.#countFailure(failure);
      this.#settleAll(failure);
    }
    this.#options.shares.dialEnded(session);
  }

  /** A session that was ready is gone. */
  closed(session: TunnelSession, failure: Failure | undefined): void {
    this.#sessions.delete(session);
    this.#options.shares.sessions -= 1;
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
      this.#settle(waiter, session);
    }
    let queued: Waiter | undefined;
    for (const waiter of this.#waiters) {
      if (this.#dialling !== undefined) return undefined;
      if (queued !== undefined && waiter.user === queued.user) continue;
      if (this.#options.shares.mayDial(waiter.user)) {
        const refused = this.#dialIfNeeded(waiter.user);
        return refused === undefined ? undefined : this.#settleAll(refused);
      }
      this.#options.shares.dialLater(this, waiter.user);
      queued = waiter;
    }
    return undefined;
  }

  /** Our own identity, or whom we trust, is another from now on. A dial under the old one begins anew. */
  identityChanged(identity: Identity): void {
    this.#giveUpDial();
    for (const session of this.#sessions) session.identityChanged(identity);
    this.serve();
  }

  /** No session of now is used again, and who waits gets a new one; open streams go on. */
  retire(): void {
    this.#warm = false;
    this.#giveUpDial();
    for (const session of this.#sessions) session.drain();
    this.serve();
  }

  /** Ends all at once. */
  end(failure: Failure): void {
    this.#warm = false;
    this.#settleAll(failure);
    this.#dialling?.end(failure);
    for (const session of this.#sessions) session.end(failure);
  }

  /** How many peers the sessions of this line may end at: a gateway chooses one for each session. */
  spreadOver(peers: number): void {
    this.#across = Math.min(peers, MOST_ACROSS);
  }

  /** Whether a session is kept ready from now on, dialled at once and again when it is lost. */
  keepWarm(warm: boolean): void {
    this.#warm = warm;
    this.#dialUnasked();
  }

  /** Gives up the session that has been idle for longest, if one is; for a peer that wants one. */
  yieldIdle(): boolean {
    if (this.#warm) return false;
    const now = this.#options.clock.monotonic();
    let idlest: TunnelSession | undefined;
    for (const session of this.#sessions) {
      if (session.kind === "ready" && session.idleMs(now) > (idlest?.idleMs(now) ?? 0)) idlest = session;
    }
    idlest?.drain();
    return idlest !== undefined;
  }

  tick(): void {
    let keep = this.#warm;
    for (const session of this.#sessions) {
      session.tick(keep);
      if (session.kind === "ready") keep = false;
    }
    this.#dialUnasked();
  }

  #learn(session: TunnelSession): void {
    this.#peerStreams = session.peerStreams ?? this.#peerStreams;
  }

  /** The least busy session; one that is due to be replaced only while there is no other. */
  #reserve(): TunnelSession | undefined {
    const { key, identity, clock } = this.#options;
    const { id } = identity().svid;
    const now = clock.now();
    const monotonic = clock.monotonic();
    let best: TunnelSession | undefined;
    let bestIsDue = false;
    for (const session of this.#sessions) {
      // Compared in full: a session is never lent to another identity, expectation or address, whatever led here.
      if (session.key !== key || session.identity.svid.id !== id || !session.hasRoom(now, monotonic)) continue;
      const isDue = session.isDue(monotonic);
      if (best !== undefined && (isDue === bestIsDue ? !this.#comesBefore(session, best) : isDue)) continue;
      best = session;
      bestIsDue = isDue;
    }
    best?.reserve();
    return best;
  }

  /** The less busy of two sessions; where they may end at different peers, also the less used. */
  #comesBefore(one: TunnelSession, other: TunnelSession): boolean {
    if (one.streams !== other.streams) return one.streams < other.streams;
    return this.#across > 1 && one.opened < other.opened;
  }

  /** The least busy session has become busy: the next one is dialled while it still has room, so that nobody waits for it. */
  #spread(leastBusy: TunnelSession): void {
    if (this.#dialling !== undefined) return;
    const { busyStreams, spreadSessions } = this.#options.limits;
    const { capacity, streams } = leastBusy;
    const nearlyFull = streams >= AHEAD_STREAMS && streams >= capacity * NEARLY_FULL;
    const ready = this.#readySessions();
    const isBusy = streams >= busyStreams && ready < spreadSessions;
    if (nearlyFull || isBusy || ready < this.#across) this.#dialAhead();
  }

  #readySessions(): number {
    let ready = 0;
    for (const session of this.#sessions) if (session.kind === "ready") ready += 1;
    return ready;
  }

  /** Dials for what nobody has asked for yet: a successor of a session that is due, or the one that is kept warm. */
  #dialUnasked(): void {
    if (this.#dialling !== undefined) return;
    const now = this.#options.clock.monotonic();
    if (now < this.#unaskedNotBeforeMs) return;
    let fresh = false;
    let wanted = this.#warm;
    for (const session of this.#sessions) {
      if (session.kind !== "ready") continue;
      if (!session.isDue(now)) fresh = true;
      else if (this.#warm || session.idleMs(now) < IN_USE_MS) wanted = true;
      else session.drain();
    }
    if (wanted && !fresh) this.#dialAhead();
    else if (wanted) this.#drainDue(now);
  }

  #dialAhead(): void {
    const { shares } = this.#options;
    if (shares.mayDial(undefined) && shares.maySession) this.#dialIfNeeded(undefined);
  }

  /** A new session is there: those that it stands in for go. */
  #succeeded(session: TunnelSession): void {
    this.#unaskedNotBeforeMs = -Infinity;
    this.serve();
    // Who was served may have ended the session already.
    if (session.kind === "ready") this.#drainDue(this.#options.clock.monotonic());
  }

  #drainDue(now: number): void {
    for (const session of this.#sessions) if (session.isDue(now)) session.drain();
  }

  #giveUpDial(): void {
    const dialling = this.#dialling;
    this.#dialling = undefined;
    dialling?.end(fail("DRAINING", "retired"));
  }

  #dialIfNeeded(user: PoolUser | undefined): Failure | undefined {
    const { limits, clock, dial, shares } = this.#options;
    if (this.#dialling !== undefined) return undefined;
    const waitMs = this.#notBeforeMs - clock.monotonic();
    if (waitMs > 0 && this.#lastFailure !== undefined) {
      const { code, detail } = this.#lastFailure;
      return fail(code, `${detail} (next try in ${Math.ceil(waitMs)} ms)`);
    }
    // At the bound the caller waits for a stream to end.
    if (this.#sessions.size >= limits.maxSessionsPerKey) return undefined;
    if (!shares.maySession && !shares.makeRoom()) {
      return fail("TOO_MANY_CONNECTIONS", `${shares.sessions} sessions to all peers, none of them idle`);
    }
    if (!shares.mayDial(user)) {
      shares.dialLater(this, user);
      return undefined;
    }
    const session = dial(this);
    if (isFailure(session)) return session;
    this.#dialling = session;
    shares.dialBegun(session, user);
    return undefined;
  }

  #countFailure(failure: Failure): void {
    const now = this.#options.clock.monotonic();
    this.#failures += 1;
    this.#lastFailure = failure;
    this.#notBeforeMs = now + backoffDelay(BACKOFF, this.#failures, Math.random());
    this.#unaskedNotBeforeMs = now + backoffDelay(UNASKED_BACKOFF, this.#failures, Math.random());
  }

  #settle(waiter: Waiter, result: TunnelSession | Failure): void {
    if (!this.#waiters.delete(waiter)) return;
    this.#options.shares.waitEnded(waiter.user);
    waiter.deadline.cancel();
    waiter.settle(result);
  }

  #settleAll(failure: Failure): void {
    for (const waiter of this.#waiters) this.#settle(waiter, failure);
  }
}
