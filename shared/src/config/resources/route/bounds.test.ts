import assert from "node:assert/strict";
import { test } from "node:test";
import { brief, parseText } from "../text-fixtures.ts";

function expression(text: string): string {
  return `{path: {type: RegularExpression, value: "${text}"}}`;
}

test("regular expressions of all rules are bounded together; those beyond are not looked at", () => {
  const most = Array.from({ length: 16 }, () => expression("a".repeat(990))).join(", ");
  const problems = (...more: readonly string[]): string[] =>
    brief(
      parseText(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  parentRefs: [{group: "", kind: Service, name: reviews}]
  rules: [{matches: [${most}]}, {matches: [${more.join(", ")}]}]
`).problems,
    );
  assert.deepEqual(problems(expression("b")), []);
  const expected = "expected at most 16384 characters of regular expressions in all, found more";
  assert.deepEqual(problems(expression("b".repeat(990)), expression("(")), [
    `- 6: spec.rules[1].matches[0].path.value: ${expected}`,
  ]);
});
