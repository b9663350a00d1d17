import assert from "node:assert/strict";
import { it } from "node:test";
import type { PolicyRule } from "./authorization.ts";
import { compilePolicies } from "./compile.ts";
import { explain } from "./explain.ts";
import { facts, list, policy, from, to } from "./policy-fixtures.ts";

const get = to({ methods: list("GET") });
const fromOther = from({ namespaces: list("other") });
const named = (name: string, action: "ALLOW" | "DENY", rules: readonly PolicyRule[]) =>
  policy(action, rules, { uid: `default/${name}` });

it("names for every policy whether it matched, and the field that refuted each rule", () => {
  const compiled = compilePolicies(
    [
      named("deny", "DENY", [get]),
      named("allow", "ALLOW", [fromOther, to({ ports: [9080] })]),
      named("none", "ALLOW", []),
      { ...named("broken", "ALLOW", []), dryRun: true, notUnderstood: "a.yaml:3: spec.rules[0].when" },
    ],
    "l7",
  );
  const { decision, policies } = explain(compiled, facts(), { method: "PUT", host: "reviews", path: "/" });
  assert.equal(decision.allowed, true);
  assert.equal(decision.policy, "default/allow");
  assert.deepEqual(
    policies.map((one) => [one.policy, one.matched, one.why]),
    [
      ["default/broken", true, "not understood, so it denies what it selects: a.yaml:3: spec.rules[0].when"],
      ["default/deny", false, "no rule matches"],
      ["default/allow", true, "rules[1] matches"],
      ["default/none", false, "has no rules, so it matches nothing"],
    ],
  );
  assert.deepEqual(policies[1]?.rules, [{ rule: "rules[0]", matched: false, why: "to[0].methods does not hold" }]);
  assert.equal(policies[2]?.rules[0]?.why, "from[0].namespaces does not hold");
});

it("says how HTTP fields are read where only a connection is known", () => {
  const compiled = compilePolicies([named("deny", "DENY", [get]), named("allow", "ALLOW", [get])], "l4");
  const { decision, policies } = explain(compiled, facts(), undefined);
  assert.equal(decision.allowed, false);
  assert.match(policies[0]?.rules[0]?.why ?? "", /DENY rule takes them as matching/);
  assert.match(policies[1]?.rules[0]?.why ?? "", /ALLOW rule then never matches/);
});
