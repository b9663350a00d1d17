// Machine. What the configuration stream tells the operator: lines of the log, and numbers.
import type { Problem } from "@culvert/shared/config/snapshot.ts";
import { formatProblem } from "@culvert/shared/config/problem-text.ts";
import type { RefusedField } from "@culvert/shared/config/stream/frames.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { Log } from "@culvert/shared/observe/log.ts";
import { tellProblems } from "@culvert/shared/service/resources-report.ts";
import type { AuthorityMetrics } from "../observe/authority-metrics.ts";
import type { ConfigClient, Outcome } from "./config-client.ts";

/** Problems of a folder, or fields of a refused update, that get a line each; of the others the number is told. */
const MOST_LINES = 20;

export interface ConfigEventsOptions {
  readonly log: Log;
  readonly metrics: AuthorityMetrics;
  /** Counts a failure by its code. */
  readonly onFailure: (failure: Failure) => void;
}

/** See the head of the file. */
export class ConfigEvents {
  readonly #options: ConfigEventsOptions;

  constructor(options: ConfigEventsOptions) {
    this.#options = options;
  }

  connected(client: ConfigClient): void {
    this.#options.log.debug("client connected", nameOf(client));
  }

  disconnected(client: ConfigClient): void {
    this.#options.log.debug("client disconnected", nameOf(client));
  }

  acknowledged(client: ConfigClient, { version, tookMs }: Outcome): void {
    this.#options.metrics.configUpdate("acknowledged", tookMs);
    this.#options.log.debug("configuration acknowledged", { ...nameOf(client), version });
  }

  nacked(client: ConfigClient, { version, tookMs }: Outcome, problems: readonly RefusedField[]): void {
    const { log, metrics } = this.#options;
    metrics.configUpdate("refused", tookMs);
    const text = problems.slice(0, MOST_LINES).map(({ resource, path, text: why }) => `${resource} ${path}: ${why}`);
    log.warn("configuration refused", {
      ...nameOf(client),
      version,
      problems: problems.length,
      error: text.join("; "),
    });
  }

  refused(remote: string, id: SpiffeId | undefined, failure: Failure): void {
    this.#options.onFailure(failure);
    this.#options.log.failure("configuration stream refused", failure, { remote, identity: id ?? "" });
  }

  inUse(version: string, documents: number, changed: number): void {
    this.#options.log.info("resources in use", { version, documents, changed });
  }

  notUnderstood(problems: readonly Problem[]): void {
    tellProblems(this.#options.log, problems);
  }

  kept(problems: readonly Problem[]): void {
    const { log } = this.#options;
    for (const problem of problems.slice(0, MOST_LINES)) log.error("resource error", { error: formatProblem(problem) });
    log.error("resources kept as they were", { problems: problems.length });
  }
}

function nameOf(client: ConfigClient): {
  readonly identity: string;
  readonly remote: string;
  readonly resource: string;
} {
  const { identity, remote, resource } = client.facts();
  return { identity, remote, resource };
}
