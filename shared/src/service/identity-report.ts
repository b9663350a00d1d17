// Machine. What the operator is told of the own identity, whatever source it comes from: its changes and failures, and how little
// of its life is left.
import type { Failure, FailureCode } from "../failure/failure.ts";
import type { Identity, IdentityEvent } from "../identity/source.ts";
import type { Clock, Timer } from "../net/clock.ts";
import { processMemory } from "../net/memory.ts";
import type { Log } from "../observe/log.ts";

/** What a report needs. */
export interface IdentityReportOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly countFailure: (failure: Failure) => void;
  /** The identity in use; undefined before the first. */
  readonly identity: () => Identity | undefined;
}

/** Shares of a certificate's life, in percent, at which it is told that no more is left. */
const WARN_AT = [5, 20, 50] as const;
const LOOK_MS = 2_000;

/** See the head of the file. */
export class IdentityReport {
  readonly #options: IdentityReportOptions;
  readonly #looks: Timer;
  #changes = 0;
  readonly #failures = new Map<FailureCode, number>();
  /** The certificate that was told of, by its end, and the smallest share that was told. */
  #told = { notAfter: 0, percent: 100 };

  constructor(options: IdentityReportOptions) {
    this.#options = options;
    this.#looks = options.clock.every(LOOK_MS, () => this.#tellLife());
  }

  /** Takes what a source tells. */
  take(event: IdentityEvent): void {
    const { log, countFailure } = this.#options;
    switch (event.kind) {
      case "changed":
      case "trust-changed": {
        this.#changes += 1;
        const { version, svid } = event.identity;
        const message = event.kind === "changed" ? "identity changed" : "trust changed";
        log.info(message, { identity: svid.id, version, valid_until: new Date(svid.notAfter).toISOString() });
        // The one before, and what OpenSSL had made of it, are garbage that an idle process would keep.
        processMemory.worked();
        break;
      }
      case "unwatched":
        log.warn("identity folder cannot be watched", { folder: event.folder, error: event.reason });
        break;
      case "awaited":
      case "kept":
      case "doubtful":
      case "expired":
        this.#failures.set(event.failure.code, (this.#failures.get(event.failure.code) ?? 0) + 1);
        countFailure(event.failure);
        log.failure(`identity ${event.kind}`, event.failure);
    }
  }

  /** Changes of the certificate or of whom it trusts, and times that no usable one came or the one in use was found wanting. */
  get counts(): { readonly changes: number; readonly failures: ReadonlyMap<FailureCode, number> } {
    return { changes: this.#changes, failures: this.#failures };
  }

  /** The certificate in use, for the metrics; undefined before the first. */
  get certificate(): { readonly id: string; readonly notAfter: number } | undefined {
    const svid = this.#options.identity()?.svid;
    return svid === undefined ? undefined : { id: svid.id, notAfter: svid.notAfter };
  }

  close(): void {
    this.#looks.cancel();
  }

  #tellLife(): void {
    const svid = this.#options.identity()?.svid;
    if (svid === undefined) return;
    const { id, notBefore, notAfter } = svid;
    if (this.#told.notAfter !== notAfter) this.#told = { notAfter, percent: 100 };
    const leftMs = notAfter - this.#options.clock.now();
    const percent = WARN_AT.find((share) => leftMs <= ((notAfter - notBefore) * share) / 100);
    // Its very end is told by the source.
    if (percent === undefined || percent >= this.#told.percent || leftMs <= 0) return;
    this.#told = { notAfter, percent };
    const fields = { identity: id, left_percent: percent, left_seconds: Math.round(leftMs / 1000) };
    // A renewal is due at half of a life, so half is no more than a note.
    if (percent === 50) this.#options.log.info("identity at half of its life", fields);
    else this.#options.log.warn("identity near its end, nothing newer has come", fields);
  }
}
