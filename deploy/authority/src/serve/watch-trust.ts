// Machine. Tells callers whom to trust: the state of now, and each that follows. A slow reader skips what is no longer true.
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { Caller, Proof } from "../proof/proof.ts";
import { byCertificate } from "../proof/prover.ts";
import type { AuditLog } from "../observe/audit-log.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import type { AuthorityState, TrustState } from "../state/authority-state.ts";

export interface TrustWatchersOptions {
  readonly state: AuthorityState;
  readonly limits: AuthorityLimits;
  readonly audit: AuditLog;
  /** Counts a failure by its code. */
  readonly onRefused: (failure: Failure) => void;
}

/** Those who watch. */
export class TrustWatchers {
  readonly #options: TrustWatchersOptions;
  readonly #wakers = new Set<() => void>();
  readonly #stopWatching: () => void;
  #draining = false;

  constructor(options: TrustWatchersOptions) {
    this.#options = options;
    this.#stopWatching = options.state.onChange(() => this.#wake());
  }

  /** How many watch. */
  get size(): number {
    return this.#wakers.size;
  }

  /** Ends every watch; who comes later is refused. */
  drain(): void {
    this.#draining = true;
    this.#stopWatching();
    this.#wake();
  }

  /**
   * The states from now until the signal, for a caller with a certificate of ours that counts. Whom to trust is told to those who
   * are trusted. Ends with a failure for any other caller, and when we drain.
   */
  async *watch(caller: Caller, signal: AbortSignal): AsyncGenerator<TrustState, Failure | undefined> {
    const refused = this.#refusalOf(caller);
    if (refused !== undefined) return refused;
    let sent: TrustState | undefined;
    let next = Promise.withResolvers<undefined>();
    const waker = (): void => next.resolve(undefined);
    this.#wakers.add(waker);
    signal.addEventListener("abort", waker);
    try {
      while (!signal.aborted) {
        if (this.#draining) return shuttingDown();
        const now = this.#options.state.trust();
        if (now === sent) {
          await next.promise;
          next = Promise.withResolvers<undefined>();
        } else {
          sent = now;
          yield now;
        }
      }
      return undefined;
    } finally {
      this.#wakers.delete(waker);
      signal.removeEventListener("abort", waker);
    }
  }

  #refusalOf(caller: Caller): Failure | undefined {
    const { state, limits, audit, onRefused } = this.#options;
    if (this.#draining) return shuttingDown();
    const proof = proofOf(caller, state);
    const refused = isFailure(proof)
      ? proof
      : this.#wakers.size >= limits.maxSessions
        ? fail("RATE_EXCEEDED", `${limits.maxSessions} callers watch`)
        : undefined;
    if (refused === undefined) return undefined;
    const known = isFailure(proof) ? undefined : proof;
    audit.refused({ method: "WatchTrust", remote: caller.remote, proof: known, durationMs: 0 }, refused);
    onRefused(refused);
    return refused;
  }

  #wake(): void {
    for (const waker of this.#wakers) waker();
  }
}

function proofOf({ certificate }: Caller, state: AuthorityState): Proof | Failure {
  if (certificate === undefined) return fail("PROOF_MISSING", "no client certificate");
  return isFailure(certificate) ? certificate : byCertificate(certificate, state.issuer().trustDomain);
}

function shuttingDown(): Failure {
  return fail("DRAINING", "the authority is shutting down");
}
