import assert from "node:assert/strict";
import { it } from "node:test";
import { isFailure } from "../failure/failure.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { parseIp } from "../net/ip.ts";
import type { AuthorizationPolicy, ConnectionFacts, PolicyRule } from "./authorization.ts";
import { compilePolicies } from "./compile.ts";
import { explain } from "./explain.ts";

function connection(): ConnectionFacts {
  const principal = parseSpiffeId("spiffe://cluster.local/ns/default/sa/client");
  const sourceIp = parseIp("10.0.0.7");
  assert(!isFailure(principal) && sourceIp !== undefined);
  return { principal, sourceIp, destinationIp: undefined, destinationPort: 9080 };
}

function policy(name: string, action: "ALLOW" | "DENY", rules: readonly PolicyRule[]): AuthorizationPolicy {
  const target = { kind: "namespace" } as const;
  return {
    uid: `default/${name}`,
    namespace: "default",
    name,
    action,
    dryRun: false,
    target,
    rules,
    notUnderstood: undefined,
  };
}

const get: PolicyRule = { from: [], to: [{ methods: [{ kind: "exact", value: "GET" }] }] };
const fromOther: PolicyRule = { from: [{ namespaces: [{ kind: "exact", value: "other" }] }], to: [] };

it("names for every policy whether it matched, and the field that refuted each rule", () => {
  const compiled = compilePolicies(
    [
      policy("deny", "DENY", [get]),
      policy("allow", "ALLOW", [fromOther, { from: [], to: [{ ports: [9080] }] }]),
      policy("none", "ALLOW", []),
      { ...policy("broken", "ALLOW", []), dryRun: true, notUnderstood: "a.yaml:3: spec.rules[0].when" },
    ],
    "l7",
  );
  const { decision, policies } = explain(compiled, connection(), { method: "PUT", host: "reviews", path: "/" });
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
  const compiled = compilePolicies([policy("deny", "DENY", [get]), policy("allow", "ALLOW", [get])], "l4");
  const { decision, policies } = explain(compiled, connection(), undefined);
  assert.equal(decision.allowed, false);
  assert.match(policies[0]?.rules[0]?.why ?? "", /DENY rule takes them as matching/);
  assert.match(policies[1]?.rules[0]?.why ?? "", /ALLOW rule then never matches/);
});
