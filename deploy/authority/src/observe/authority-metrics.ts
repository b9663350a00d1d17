// Machine. The authority's own metrics, beside those that every process of Culvert has.
import type { Counter, Histogram } from "@culvert/shared/observe/series.ts";
import type { Metrics } from "@culvert/shared/observe/metrics.ts";
import type { ProofKind } from "../proof/proof.ts";

/** Where the numbers come from; each is asked at a scrape only. */
export interface AuthorityFacts {
  readonly sessions: () => number;
  readonly watchers: () => number;
  readonly trustVersion: () => number | undefined;
  /** Clients of the configuration stream, and the documents that they choose from; undefined without one. */
  readonly configClients: () => number | undefined;
  readonly configDocuments: () => number | undefined;
  /** End of validity of what signs, milliseconds since the epoch. */
  readonly issuerNotAfter: () => number | undefined;
}

const KINDS: readonly ProofKind[] = ["join-token", "kubernetes", "certificate"];
const RESULTS = ["acknowledged", "refused"] as const;
/** What a client made of an update. */
export type UpdateResult = (typeof RESULTS)[number];
/** Seconds. */
const BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** See the head of the file. */
export class AuthorityMetrics {
  readonly #issued: ReadonlyMap<ProofKind, Counter>;
  readonly #duration: Histogram;
  readonly #updates: ReadonlyMap<UpdateResult, Counter>;
  readonly #answers: Histogram;

  constructor(metrics: Metrics, facts: AuthorityFacts) {
    const issued = metrics.counter(
      "culvert_authority_certificates_total",
      "Certificates issued, by what proved the identity.",
      ["proof"],
    );
    this.#issued = new Map(
      KINDS.map((kind) => {
        const counter = issued.with(kind);
        counter.hold();
        return [kind, counter];
      }),
    );
    this.#duration = metrics
      .histogram(
        "culvert_authority_issue_duration_seconds",
        "Time from a request to its certificate, refusals left out.",
        BOUNDS,
      )
      .with();
    const updates = metrics.counter(
      "culvert_authority_config_updates_total",
      "Updates of the configuration stream, by what the client made of them.",
      ["result"],
    );
    this.#updates = new Map(
      RESULTS.map((result) => {
        const counter = updates.with(result);
        counter.hold();
        return [result, counter];
      }),
    );
    this.#answers = metrics
      .histogram(
        "culvert_authority_config_answer_duration_seconds",
        "Time from an update of the configuration to the client's answer.",
        BOUNDS,
      )
      .with();
    metrics.observe("culvert_authority_config_clients", "Clients of the configuration stream.", facts.configClients);
    metrics.observe(
      "culvert_authority_config_documents",
      "Resources that clients of the configuration stream are told of.",
      facts.configDocuments,
    );
    metrics.observe("culvert_authority_sessions", "Sessions of callers that are open.", facts.sessions);
    metrics.observe("culvert_authority_watchers", "Callers that are told of each change of trust.", facts.watchers);
    metrics.observe(
      "culvert_authority_trust_version",
      "Version of the trust that callers are told of.",
      facts.trustVersion,
    );
    metrics.observe(
      "culvert_authority_issuer_expiration_timestamp_seconds",
      "End of validity of the chain that signs, seconds since the epoch.",
      () => {
        const end = facts.issuerNotAfter();
        return end === undefined ? undefined : end / 1000;
      },
    );
  }

  /** Counts one update that a client has answered. */
  configUpdate(result: UpdateResult, tookMs: number): void {
    this.#updates.get(result)?.add();
    this.#answers.observe(tookMs / 1000);
  }

  /** Counts one certificate. */
  issued(kind: ProofKind, durationMs: number): void {
    this.#issued.get(kind)?.add();
    this.#duration.observe(durationMs / 1000);
  }
}
