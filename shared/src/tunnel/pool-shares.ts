// Machine. What all lines of a pool share: how many sessions, dials and waiting callers there may be, for each user of the pool too,
// and whose turn it is to dial when all places are taken.
import type { TunnelLimits } from "./limits.ts";

/** A line that wants to dial: `serve` dials for those who still wait by then. */
export interface Diallers {
  serve(): void;
}

/**
 * One of several for whom a pool is used, so that none of them takes all of it: each may hold as much as is free besides. The pool
 * keeps the counts. Who is the only one needs none.
 */
export interface PoolUser {
  /** Dials under way that were begun for it. */
  dials: number;
  /** Callers of its that wait. */
  waiting: number;
}

export interface PoolSharesOptions {
  readonly limits: TunnelLimits;
  /** Gives up a session that nobody uses; `false` when there is none. */
  readonly yieldIdle: () => boolean;
}

/** See the head of the file. The lines keep the counts. */
export class PoolShares {
  /** Callers that wait, of all lines: see `waitBegun`. */
  waiting = 0;
  /** Sessions that were made and are not gone. */
  sessions = 0;
  readonly #options: PoolSharesOptions;
  /** Dials under way, and for whom. */
  readonly #dialling = new Map<object, PoolUser | undefined>();
  /** Who waits for a place, and with which lines: one that has no more than its share comes past those that have. */
  readonly #queues = new Map<PoolUser | undefined, Set<Diallers>>();

  constructor(options: PoolSharesOptions) {
    this.#options = options;
  }

  /** Dials under way. */
  get dials(): number {
    return this.#dialling.size;
  }

  /** Whether one more dial may begin for a user, or for nobody in particular. */
  mayDial(user: PoolUser | undefined): boolean {
    const free = this.#options.limits.maxDials - this.#dialling.size;
    return user === undefined ? free > 0 : user.dials < free;
  }

  get maySession(): boolean {
    return this.sessions + this.#dialling.size < this.#options.limits.maxPooledSessions;
  }

  /** Makes room for one more session, if an idle one can be given up; that one may take a moment to be gone. */
  makeRoom(): boolean {
    return this.#options.yieldIdle();
  }

  /** Whether one more caller may wait. */
  mayWait(user: PoolUser | undefined): boolean {
    const free = this.#options.limits.maxWaiters - this.waiting;
    return user === undefined ? free > 0 : user.waiting < free;
  }

  waitBegun(user: PoolUser | undefined): void {
    this.waiting += 1;
    if (user !== undefined) user.waiting += 1;
  }

  waitEnded(user: PoolUser | undefined): void {
    this.waiting -= 1;
    if (user !== undefined) user.waiting -= 1;
  }

  dialBegun(session: object, user: PoolUser | undefined): void {
    this.#dialling.set(session, user);
    if (user !== undefined) user.dials += 1;
  }

  /** A dial has come to its end, or was given up; of each user whoever waits longest for a place dials next. */
  dialEnded(session: object): void {
    if (!this.#dialling.has(session)) return;
    const ended = this.#dialling.get(session);
    this.#dialling.delete(session);
    if (ended !== undefined) ended.dials -= 1;
    for (const [user, lines] of this.#queues) {
      for (const next of lines) {
        if (!this.mayDial(user)) break;
        lines.delete(next);
        next.serve();
      }
      if (lines.size === 0 && this.#queues.get(user) === lines) this.#queues.delete(user);
    }
  }

  /** All places are taken, or all of the user's: `line` is served when one is free. */
  dialLater(line: Diallers, user: PoolUser | undefined): void {
    const lines = this.#queues.get(user);
    if (lines === undefined) this.#queues.set(user, new Set([line]));
    else lines.add(line);
  }
}
