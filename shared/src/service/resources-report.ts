// Machine. What operators are told of the resources while they change: one line of the log a change, and the counts behind metrics.
import { formatProblem } from "../config/problem-text.ts";
import type { ResourceEvent, ResourceSource } from "../config/resource-source.ts";
import type { Problem } from "../config/snapshot.ts";
import type { StreamEvents } from "../config/stream/stream-options.ts";
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { processMemory } from "../net/memory.ts";
import type { Log } from "../observe/log.ts";
import type { ConfigFacts } from "../observe/proxy-metrics.ts";

/**
 * Problems of one change that get a line each; of the others the number is told, and `check` names them. Well below what the log lets
 * through in a second, so that the first of the next change are not held back.
 */
const MOST_LINES = 20;

/** What a report stands on. */
export interface ResourcesReportOptions {
  readonly log: Log;
  readonly clock: Clock;
  readonly countFailure: (failure: Failure) => void;
}

/** See the head of the file. */
export class ResourcesReport {
  readonly #options: ResourcesReportOptions;
  #problems = { errors: 0, notUnderstood: 0 };
  #notSaved = 0;

  constructor(options: ResourcesReportOptions) {
    this.#options = options;
  }

  /** What metrics tell of a source: what is in use, the problems of its newest resources, and how often it could not be saved. */
  factsOf(source: ResourceSource | undefined): ConfigFacts {
    return {
      version: source?.get().version ?? 0,
      asOf: source?.asOf ?? this.#options.clock.now(),
      isRestored: source?.isRestored ?? false,
      ...this.#problems,
      notSaved: this.#notSaved,
    };
  }

  /** What the stream tells of its connection. */
  get stream(): StreamEvents {
    const { log, countFailure } = this.#options;
    return {
      onConnected: () => log.info("configuration stream is open"),
      onDisconnected: (failure) => {
        countFailure(failure);
        log.failure("no configuration stream", failure);
      },
    };
  }

  take(event: ResourceEvent): void {
    const { log, clock } = this.#options;
    switch (event.kind) {
      case "name-unresolved":
        return log.warn("name not resolved, its last addresses stay", { host: event.host, error: event.text });
      case "not-saved":
        this.#notSaved += 1;
        return log.warn("resources not saved for the next start", { error: event.text });
      case "not-restored":
        return log.warn("resources that were saved last cannot be used", { error: event.text });
      case "swapped":
        log.info("resources in use", { version: event.snapshot.version });
        return this.#tell(event.snapshot.problems);
      case "kept": {
        const { errors } = countsOf(event.problems);
        log.warn("resources have errors, the last good ones stay in use", { errors });
        return this.#tell(event.problems);
      }
      case "restored": {
        const { errors } = countsOf(event.problems);
        const age = Math.round((clock.now() - event.savedAt) / 1000);
        log.warn("resources cannot be used, those that were saved last are in use", { errors, age_seconds: age });
        return this.#tell(event.problems);
      }
    }
  }

  #tell(problems: readonly Problem[]): void {
    this.#problems = countsOf(problems);
    tellProblems(this.#options.log, problems);
    processMemory.worked();
  }
}

/** Says the first problems of a change, a line each, and how many others there are. */
export function tellProblems(log: Log, problems: readonly Problem[]): void {
  for (const problem of problems.slice(0, MOST_LINES)) {
    log.warn(`resource ${problem.severity}`, { resource: problem.resource, error: formatProblem(problem) });
  }
  const more = problems.length - MOST_LINES;
  if (more > 0) log.warn("further problems of the resources", { problems: more });
}

function countsOf(problems: readonly Problem[]): { readonly errors: number; readonly notUnderstood: number } {
  const errors = problems.filter(({ severity }) => severity === "error").length;
  return { errors, notUnderstood: problems.length - errors };
}
