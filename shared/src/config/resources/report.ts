// Pure. What is wrong with one resource, or not understood, while it is read.
import type { ConditionReason, Problem } from "../snapshot.ts";
import { found, shown, type Node } from "../tree.ts";

/** Problems that are told of one document; the others add nothing to the first ones. */
const MOST_PROBLEMS = 100;

/** How bad a malformed value is: see `Problem.severity`. Policies and routes fail closed by themselves. */
export type Severity = Problem["severity"];

/** A node that stands for a whole resource, for problems of what is absent. */
export function placeOf(metadata: { readonly source: string; readonly line: number }): Node {
  return { kind: "scalar", value: null, source: metadata.source, line: metadata.line };
}

/** Collects the problems of one resource, or of one part of it that fails closed by itself. */
export class Report {
  /** All problems of the resource, those of its parts included. */
  readonly problems: Problem[];
  readonly #resource: string;
  readonly #malformed: Severity;
  /** What has been read of costly things so far, shared with the parts: see `spend`. */
  readonly #spent: { costly: number };
  #reason: string | undefined;

  /**
   * @param resource `Kind namespace/name`, for the problems
   * @param malformed what a value of the wrong form means for this kind of resource
   */
  constructor(resource: string, malformed: Severity, problems: Problem[] = [], spent = { costly: 0 }) {
    this.problems = problems;
    this.#spent = spent;
    this.#resource = resource;
    this.#malformed = malformed;
  }

  /** Why this part cannot be understood, with its place; `undefined` while nothing speaks against it. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** A report for a part that may fail on its own, such as one rule of a route. */
  part(): Report {
    return new Report(this.#resource, this.#malformed, this.problems, this.#spent);
  }

  /** Adds to what the resource as a whole has of something that is costly to read, and returns the sum. */
  spend(amount: number): number {
    return (this.#spent.costly += amount);
  }

  /** A value has the wrong form. */
  malformed(node: Node, path: string, text: string): undefined {
    return this.#add(node, path, text, this.#malformed);
  }

  /** A value has the wrong form; says what was found. */
  expected(node: Node, path: string, expectation: string): undefined {
    return this.malformed(node, path, `expected ${expectation}, found ${found(node)}`);
  }

  /** A value is well formed as far as we can tell, and Culvert cannot act on it; `reason` is what the status of a route calls that. */
  notUnderstood(node: Node, path: string, text: string, reason?: ConditionReason): undefined {
    return this.#add(node, path, text, "not-understood", reason);
  }

  /** The resource cannot be used in any form, so neither can the folder. */
  error(node: Node, path: string, text: string): undefined {
    return this.#add(node, path, text, "error");
  }

  #add({ source, line }: Node, path: string, text: string, severity: Severity, reason?: ConditionReason): undefined {
    const problem = { file: source, line, resource: this.#resource, path: shown(path), text: shown(text), severity };
    if (this.#hasRoom(severity)) this.problems.push(reason === undefined ? problem : { ...problem, reason });
    this.#reason ??= `${source}:${line}: ${problem.path}: ${problem.text}`;
    return undefined;
  }
  /** The first error always has: it decides what becomes of the whole. */
  #hasRoom(severity: Severity): boolean {
    if (this.problems.length < MOST_PROBLEMS) return true;
    return severity === "error" && !this.problems.some((problem) => problem.severity === "error");
  }
}
