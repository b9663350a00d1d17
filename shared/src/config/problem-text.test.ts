import assert from "node:assert/strict";
import { test } from "node:test";
import { formatProblem } from "./problem-text.ts";
import type { Problem } from "./snapshot.ts";

test("a problem names its place, its resource and what becomes of it", () => {
  const problem: Problem = {
    file: "mesh/a.yaml",
    line: 7,
    resource: "AuthorizationPolicy default/a",
    path: "spec.rules[0].when",
    text: "conditions are not supported in this release",
    severity: "not-understood",
  };
  assert.equal(
    formatProblem(problem),
    "mesh/a.yaml:7: spec.rules[0].when: conditions are not supported in this release " +
      "(AuthorizationPolicy default/a; not understood, fails closed)",
  );
  assert.equal(
    formatProblem({ ...problem, severity: "error", path: "" }),
    "mesh/a.yaml:7: conditions are not supported in this release (AuthorizationPolicy default/a)",
  );
  assert.equal(
    formatProblem({ ...problem, severity: "error", path: "", resource: "", line: 0, text: "gone" }),
    "mesh/a.yaml: gone",
  );
});
