// Machine. Keeps one bundle up to date from its endpoint: asks again as often as the document says, after a failure soon and
// then less often. What was good stays until something better has come.
import { fail, isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { backoffDelay } from "../../net/backoff.ts";
import type { Clock, Timer } from "../../net/clock.ts";
import type { Bundle } from "../source.ts";
import type { TrustDomain } from "../spiffe-id.ts";
import { fetchBundle } from "./fetch-bundle.ts";
import type { EndpointProof } from "./fetch-bundle.ts";
import { bundleDocumentFrom } from "./spiffe-bundle.ts";
import type { BundleDocument } from "./spiffe-bundle.ts";
import type { BundleEndpoint } from "./trust-config.ts";

/** What a poll needs, and whom it tells. */
export interface BundlePollOptions {
  readonly trustDomain: TrustDomain;
  readonly endpoint: BundleEndpoint;
  /** By what the server is known now; a failure when that itself is not known. */
  readonly proof: () => EndpointProof | Failure;
  readonly clock: Clock;
  /** A document has come; `undefined` where it has no roots. */
  readonly onBundle: (bundle: Bundle | undefined) => void;
  readonly onFailure: (failure: Failure) => void;
}

/** SPIFFE Federation section 4.1 recommends five minutes where the document does not say. */
const DEFAULT_REFRESH_MS = 300_000;
/** A document cannot make us ask more often than this, nor forget to ask. */
const MIN_REFRESH_MS = 10_000;
const MAX_REFRESH_MS = 3_600_000;
const BACKOFF = { baseMs: 1_000, capMs: 300_000 };
/** Those who were told the same interval at the same time do not ask at the same time. */
const JITTER = 0.1;

/** See the head of the file. */
export class BundlePoll {
  readonly #options: BundlePollOptions;
  readonly #stop = new AbortController();
  #timer: Timer | undefined;
  #failures = 0;
  #sequence: number | undefined;

  /** Begins to ask at once. */
  constructor(options: BundlePollOptions) {
    this.#options = options;
    void this.#ask();
  }

  close(): void {
    this.#timer?.cancel();
    // A question under way would keep the process alive.
    this.#stop.abort();
  }

  async #ask(): Promise<void> {
    const { clock, onBundle, onFailure } = this.#options;
    const document = await this.#fetch();
    if (this.#stop.signal.aborted) return;
    if (isFailure(document)) {
      this.#failures += 1;
      onFailure(document);
      this.#askIn(backoffDelay(BACKOFF, this.#failures, Math.random()), clock);
      return;
    }
    this.#failures = 0;
    this.#sequence = document.sequence ?? this.#sequence;
    onBundle(document.bundle);
    const refreshMs = Math.min(Math.max(document.refreshMs ?? DEFAULT_REFRESH_MS, MIN_REFRESH_MS), MAX_REFRESH_MS);
    this.#askIn(refreshMs * (1 - JITTER * Math.random()), clock);
  }

  #askIn(delayMs: number, clock: Clock): void {
    this.#timer = clock.after(delayMs, () => void this.#ask());
  }

  async #fetch(): Promise<BundleDocument | Failure> {
    const { trustDomain, endpoint, proof, clock } = this.#options;
    const known = proof();
    if (isFailure(known)) return known;
    const { host, port, path } = endpoint;
    const text = await fetchBundle({ host, port, path, proof: known, clock, signal: this.#stop.signal });
    if (isFailure(text)) return text;
    const document = bundleDocumentFrom(trustDomain, text);
    if (isFailure(document) || document.sequence === undefined || this.#sequence === undefined) return document;
    if (document.sequence >= this.#sequence) return document;
    const order = `sequence number ${document.sequence} after ${this.#sequence}`;
    return fail("IDENTITY_MALFORMED", `bundle of ${trustDomain}: ${order}; the newer one stays`);
  }
}
