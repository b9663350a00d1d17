// Pure. From what was found wrong with a resource to conditions.
import type { ConditionReason, Problem } from "../snapshot.ts";
import type { Condition } from "./condition.ts";

/** Reasons of `ResolvedRefs`; all others are of `Accepted`. */
const OF_REFERENCES: ReadonlySet<ConditionReason> = new Set<ConditionReason>([
  "BackendNotFound",
  "InvalidCACertificateRef",
  "InvalidKind",
  "RefNotPermitted",
  "UnsupportedProtocol",
]);

/** Kubernetes allows 32 KiB; more than a few reasons are for the log. */
const MOST_CHARACTERS = 1_024;

/** Why something is not what it asks to be. */
export interface Refusal {
  readonly reason: ConditionReason;
  readonly text: string;
}

/** The problems of one resource. */
export class Verdicts {
  readonly #problems: readonly Problem[];
  readonly #generation: number;

  constructor(problems: readonly Problem[], generation: number) {
    this.#problems = problems;
    this.#generation = generation;
  }

  /** That it is accepted, or why not. */
  accepted(refusal: Refusal | undefined): Condition {
    if (refusal === undefined) return this.#condition("Accepted", "True", "Accepted", "");
    return this.#condition("Accepted", "False", refusal.reason, refusal.text);
  }

  /** That all references lead somewhere, or which do not. */
  resolvedRefs(): Condition {
    const wrong = this.#problems.filter(({ reason }) => reason !== undefined && OF_REFERENCES.has(reason));
    const [first] = wrong;
    if (first?.reason === undefined) return this.#condition("ResolvedRefs", "True", "ResolvedRefs", "");
    const text = wrong.map((problem) => `${problem.path}: ${problem.text}`).join("; ");
    return this.#condition("ResolvedRefs", "False", first.reason, text);
  }

  /** That some rules are not served as they ask (Gateway API wants the message to begin so). */
  partiallyInvalid(rules: readonly string[]): Condition {
    const text = `Dropped Rule: requests for it are answered 500: ${rules.join("; ")}`;
    return this.#condition("PartiallyInvalid", "True", "UnsupportedValue", text);
  }

  /** What `notUnderstood` of the resource, or of a part of it, amounts to in its status. */
  refusal(notUnderstood: string): Refusal {
    const cause = this.#problems.find(({ file, line, path, text }) =>
      [`${file}:${line}: ${path}: ${text}`, `${path}: ${text}`].includes(notUnderstood),
    );
    const reason = cause?.reason ?? "UnsupportedValue";
    return { reason: OF_REFERENCES.has(reason) ? "UnsupportedValue" : reason, text: notUnderstood };
  }

  #condition(
    type: Condition["type"],
    status: Condition["status"],
    reason: Condition["reason"],
    text: string,
  ): Condition {
    const message = text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS - 1)}…` : text;
    return { type, status, reason, message, observedGeneration: this.#generation };
  }
}
