import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { AuthorizationPolicy } from "./authorization.ts";
import { compilePolicies } from "./compile.ts";
import { decide, decideRequest, decideResolved, resolvePeer } from "./decide.ts";
import { allowed, allowedRequest, EVERYTHING, facts, list, policy, request, to } from "./policy-fixtures.ts";

describe("the order of actions", () => {
  it("allows when no policy applies", () => {
    const decision = decide(compilePolicies([], "l4"), facts());
    assert.equal(decision.allowed, true);
    assert.equal(decision.policy, "");
    assert.equal(decision.rule, "");
  });

  it("allows when only DENY policies apply and none matches", () => {
    assert(allowed([policy("DENY", [to({ ports: [1] })])]));
  });

  it("denies by DENY before it allows by ALLOW, and names policy and rule", () => {
    const decision = decide(
      compilePolicies([policy("ALLOW", [EVERYTHING]), policy("DENY", [to({ ports: [1] }), EVERYTHING])], "l4"),
      facts(),
    );
    assert(!decision.allowed);
    assert.equal(decision.policy, "default/deny");
    assert.equal(decision.rule, "rules[1]");
    assert.equal(decision.failure.code, "DENIED_BY_POLICY");
    assert.match(decision.failure.detail, /explicitly denied by: default\/deny rules\[1\]/);
  });

  it("denies when ALLOW policies exist and none matches", () => {
    const decision = decide(compilePolicies([policy("ALLOW", [to({ ports: [1] })])], "l4"), facts());
    assert(!decision.allowed);
    assert.equal(decision.policy, "");
    assert.equal(decision.failure.detail, "allow policies exist, but none allowed");
  });

  it("allows when any of several ALLOW policies matches, and names it", () => {
    const decision = decide(
      compilePolicies(
        [policy("ALLOW", [to({ ports: [1] })]), policy("ALLOW", [to({ ports: [9080] })], { uid: "default/second" })],
        "l4",
      ),
      facts(),
    );
    assert(decision.allowed);
    assert.equal(decision.policy, "default/second");
    assert.equal(decision.rule, "rules[0]");
  });

  it("takes a policy without rules to match nothing: ALLOW then denies all, DENY does nothing", () => {
    assert(!allowed([policy("ALLOW", [])]));
    assert(allowed([policy("DENY", [])]));
  });

  it("takes one empty rule to match everything", () => {
    assert(allowed([policy("ALLOW", [EVERYTHING])]));
    assert(!allowed([policy("DENY", [EVERYTHING])]));
  });
});

describe("HTTP fields where there is no HTTP", () => {
  const l7 = to({ ports: [9080], methods: list("GET") });

  it("never matches an ALLOW rule, even where another operation of the rule would", () => {
    assert(!allowed([policy("ALLOW", [l7])]));
    assert(!allowed([policy("ALLOW", [{ from: [], to: [{ methods: list("GET") }, { ports: [9080] }] }])]));
  });

  it("leaves other ALLOW rules alone", () => {
    assert(allowed([policy("ALLOW", [l7, to({ ports: [9080] })])]));
  });

  it("takes the field as matching in a DENY rule, the negated too", () => {
    assert(!allowed([policy("DENY", [l7])]));
    assert(!allowed([policy("DENY", [to({ notPaths: list("/x") })])]));
    assert(allowed([policy("DENY", [to({ ports: [1], methods: list("GET") })])]), "the port still counts");
  });

  it("reads policies compiled for requests the same way when asked about a connection", () => {
    const compiled = compilePolicies([policy("DENY", [l7])], "l7");
    assert(!decide(compiled, facts()).allowed);
    assert(decideRequest(compiled, facts(), request({ method: "PUT" })).allowed);
  });
});

describe("policies that are not understood", () => {
  const broken = policy("ALLOW", [EVERYTHING], {
    uid: "default/broken",
    notUnderstood: "a.yaml:3: spec.rules[0].when",
  });

  it("deny everything with their own code, whatever their action", () => {
    const decision = decide(compilePolicies([policy("ALLOW", [EVERYTHING]), broken], "l4"), facts());
    assert(!decision.allowed);
    assert.equal(decision.failure.code, "POLICY_NOT_UNDERSTOOD");
    assert.equal(decision.policy, "default/broken");
    assert.match(decision.failure.detail, /a\.yaml:3/);
    assert(!allowedRequest([broken], request()));
  });

  it("only report when they are dry-run", () => {
    const decision = decide(compilePolicies([{ ...broken, dryRun: true }], "l4"), facts());
    assert(decision.allowed);
    assert.equal(decision.dryRun.length, 1);
    assert.match(decision.dryRun[0] ?? "", /^default\/broken would deny: not understood/);
  });
});

describe("dry-run policies", () => {
  const dryDeny = policy("DENY", [to({ methods: list("GET") })], { uid: "default/dry-deny", dryRun: true });
  const dryAllow = policy("ALLOW", [to({ methods: list("PUT") })], { uid: "default/dry-allow", dryRun: true });

  it("are reported and not enforced", () => {
    const decision = decideRequest(compilePolicies([dryDeny, dryAllow], "l7"), facts(), request());
    assert(decision.allowed);
    assert.deepEqual(decision.dryRun, [
      "default/dry-deny would deny: rules[0]",
      "default/dry-allow would deny: no rule matches",
    ]);
  });

  it("report what an ALLOW policy would let pass", () => {
    const decision = decideRequest(compilePolicies([dryDeny, dryAllow], "l7"), facts(), request({ method: "PUT" }));
    assert.deepEqual(decision.dryRun, ["default/dry-allow would allow: rules[0]"]);
  });

  it("say nothing of an ALLOW policy that would change nothing", () => {
    const decision = decideRequest(
      compilePolicies([dryAllow, policy("ALLOW", [EVERYTHING])], "l7"),
      facts(),
      request(),
    );
    assert(decision.allowed);
    assert.deepEqual(decision.dryRun, []);
  });

  it("are reported beside a denial, too", () => {
    const decision = decideRequest(compilePolicies([dryDeny, policy("DENY", [EVERYTHING])], "l7"), facts(), request());
    assert(!decision.allowed);
    assert.deepEqual(decision.dryRun, ["default/dry-deny would deny: rules[0]"]);
  });
});

describe("a resolved peer", () => {
  it("settles what no request can change", () => {
    const rows: readonly [readonly AuthorizationPolicy[], boolean | undefined][] = [
      [[], true],
      [[policy("DENY", [EVERYTHING])], false],
      [[policy("ALLOW", [EVERYTHING])], true],
      [[policy("ALLOW", [to({ ports: [1] })])], false],
      [[policy("ALLOW", [to({ methods: list("GET") })])], undefined],
      [[policy("DENY", [to({ methods: list("GET") })]), policy("ALLOW", [EVERYTHING])], undefined],
      [[policy("DENY", [{ from: [{ namespaces: list("x") }], to: [{ methods: list("GET") }] }])], true],
    ];
    for (const [policies, expected] of rows) {
      assert.equal(resolvePeer(compilePolicies(policies, "l7"), facts()).settled?.allowed, expected);
    }
  });

  it("gives the same value for the same outcome, so that a decision costs no memory", () => {
    const peer = resolvePeer(compilePolicies([policy("ALLOW", [to({ methods: list("GET") })])], "l7"), facts());
    assert.equal(decideResolved(peer, request()), decideResolved(peer, request()));
    assert.equal(decideResolved(peer, request({ method: "PUT" })), decideResolved(peer, request({ method: "PUT" })));
  });
});
