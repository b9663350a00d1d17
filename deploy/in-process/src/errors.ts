// Pure. What an application is told of failures: errors, because that is what its promises, streams and requests take.
import type { Failure, FailureCode } from "@culvert/shared/failure/failure.ts";

/** A failure of the mesh. `code` is one of those in docs/failures.md. */
export class MeshError extends Error {
  override readonly name = "MeshError";
  readonly code: FailureCode;
  /** Whether another try may succeed: nothing of the connection has been acted on. */
  readonly retriable: boolean;
  /** The code that the peer gave for its own failure, where it gave one. */
  readonly told: FailureCode | undefined;

  constructor(failure: Failure) {
    super(failure.toString());
    this.code = failure.code;
    this.retriable = failure.traits.retriable;
    this.told = failure.told;
  }
}

/** A configuration, or resources, that cannot be used; each problem names its place, and what was expected there. */
export class MeshConfigurationError extends Error {
  override readonly name = "MeshConfigurationError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}
