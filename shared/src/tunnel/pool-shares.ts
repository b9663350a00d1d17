// Machine. What all lines of a pool share: how many sessions, dials and waiting callers there may be, and whose turn it is
// to dial when all places are taken.
import type { TunnelLimits } from "./limits.ts";

/** A line that wants to dial: `serve` dials for those who still wait by then. */
export interface Diallers {
  serve(): void;
}

export interface PoolSharesOptions {
  readonly limits: TunnelLimits;
  /** Gives up a session that nobody uses; `false` when there is none. */
  readonly yieldIdle: () => boolean;
}

/** See the head of the file. The lines keep the counts. */
export class PoolShares {
  /** Callers that wait, of all lines. */
  waiting = 0;
  /** Sessions that were made and are not gone. */
  sessions = 0;
  readonly #options: PoolSharesOptions;
  readonly #dialling = new Set<object>();
  readonly #queue = new Set<Diallers>();

  constructor(options: PoolSharesOptions) {
    this.#options = options;
  }

  /** Dials under way. */
  get dials(): number {
    return this.#dialling.size;
  }

  get mayDial(): boolean {
    return this.#dialling.size < this.#options.limits.maxDials;
  }

  get maySession(): boolean {
    return this.sessions + this.#dialling.size < this.#options.limits.maxPooledSessions;
  }

  /** Makes room for one more session, if an idle one can be given up; that one may take a moment to be gone. */
  makeRoom(): boolean {
    return this.#options.yieldIdle();
  }

  dialBegun(session: object): void {
    this.#dialling.add(session);
  }

  /** A dial has come to its end, or was given up; whoever waits longest for a place dials next. */
  dialEnded(session: object): void {
    if (!this.#dialling.delete(session)) return;
    for (const next of this.#queue) {
      if (!this.mayDial) return;
      this.#queue.delete(next);
      next.serve();
    }
  }

  /** All places are taken: `line` is served when one is free. */
  dialLater(line: Diallers): void {
    this.#queue.add(line);
  }
}
