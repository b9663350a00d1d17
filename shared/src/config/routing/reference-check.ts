// Pure. What one route names and is not there, as problems of that route.
import type { Directory } from "../../workload/directory.ts";
import { missingBackend } from "../cross-check.ts";
import type { BackendRef } from "../http-route.ts";
import type { Resource } from "../resources/resource.ts";
import { titleOf } from "../resources/title.ts";
import type { ConditionReason, Problem } from "../snapshot.ts";

/** Looks up references of one resource; what leads nowhere is added to `problems`. */
export class ReferenceCheck {
  readonly #resource: Pick<Resource, "kind" | "metadata">;
  readonly #directory: Directory;
  readonly #problems: Problem[];

  constructor(resource: Pick<Resource, "kind" | "metadata">, directory: Directory, problems: Problem[]) {
    this.#resource = resource;
    this.#directory = directory;
    this.#problems = problems;
  }

  /** Why a backend cannot be served: what it said itself, or that there is no such port. */
  unserved(backend: BackendRef, path: string): string | undefined {
    if (backend.invalid !== undefined) return backend.invalid;
    const reason = missingBackend(backend, this.#directory);
    if (reason !== undefined) this.report(path, reason, "BackendNotFound");
    return reason;
  }

  report(path: string, text: string, reason: ConditionReason): void {
    const { source, line } = this.#resource.metadata;
    const resource = titleOf(this.#resource);
    this.#problems.push({ file: source, line, resource, path, text, severity: "not-understood", reason });
  }
}
