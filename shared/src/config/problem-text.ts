// Pure. How a problem of the resources is written in logs and by `check`.
import { formatConfigError } from "./config-error.ts";
import type { Problem } from "./snapshot.ts";

/** `file:line: path: text (Kind namespace/name; what becomes of it)`, without the parts that are not known. */
export function formatProblem(problem: Problem): string {
  const outcome = problem.severity === "error" ? "" : "; not understood, fails closed";
  const about = problem.resource === "" ? "" : ` (${problem.resource}${outcome})`;
  return `${formatConfigError(problem)}${about}`;
}
