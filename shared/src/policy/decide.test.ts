import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isFailure } from "../failure/failure.ts";
import { parseSpiffeId, parseTrustDomain } from "../identity/spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "../identity/spiffe-id.ts";
import { parseCidr, parseIp } from "../net/ip.ts";
import type { Cidr, Ip } from "../net/ip.ts";
import type { AuthorizationPolicy, ConnectionFacts, PolicyRule, RequestFacts, StringMatch } from "./authorization.ts";
import { compilePolicies } from "./compile.ts";
import { decide, decideRequest, decideResolved, resolvePeer } from "./decide.ts";

function match(text: string): StringMatch {
  if (text === "*") return { kind: "presence", value: "" };
  if (text.endsWith("*")) return { kind: "prefix", value: text.slice(0, -1) };
  if (text.startsWith("*")) return { kind: "suffix", value: text.slice(1) };
  return { kind: "exact", value: text };
}

const list = (...texts: string[]): StringMatch[] => texts.map(match);

function id(text: string): SpiffeId {
  const parsed = parseSpiffeId(text);
  assert(!isFailure(parsed), text);
  return parsed;
}

function domain(text: string): TrustDomain {
  const parsed = parseTrustDomain(text);
  assert(!isFailure(parsed), text);
  return parsed;
}

function ip(text: string): Ip {
  const parsed = parseIp(text);
  assert(parsed !== undefined, text);
  return parsed;
}

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  assert(parsed !== undefined, text);
  return parsed;
}

function policy(
  action: "ALLOW" | "DENY",
  rules: readonly PolicyRule[],
  more: Partial<AuthorizationPolicy> = {},
): AuthorizationPolicy {
  return {
    uid: `default/${action.toLowerCase()}`,
    namespace: "default",
    name: action.toLowerCase(),
    action,
    dryRun: false,
    target: { kind: "namespace" },
    rules,
    notUnderstood: undefined,
    ...more,
  };
}

const EVERYTHING: PolicyRule = { from: [], to: [] };
const from = (source: PolicyRule["from"][number]): PolicyRule => ({ from: [source], to: [] });
const to = (operation: PolicyRule["to"][number]): PolicyRule => ({ from: [], to: [operation] });

const CLIENT = id("spiffe://cluster.local/ns/default/sa/client");

function facts(more: Partial<ConnectionFacts> = {}): ConnectionFacts {
  return {
    principal: CLIENT,
    sourceIp: ip("10.0.0.7"),
    destinationIp: ip("10.0.0.5"),
    destinationPort: 9080,
    ...more,
  };
}

function request(more: Partial<RequestFacts> = {}): RequestFacts {
  return { method: "GET", host: "reviews:9080", path: "/reviews/1", ...more };
}

function allowed(policies: readonly AuthorizationPolicy[], connection: ConnectionFacts = facts()): boolean {
  return decide(compilePolicies(policies, "l4"), connection).allowed;
}

function allowedRequest(
  policies: readonly AuthorizationPolicy[],
  asked: RequestFacts,
  connection: ConnectionFacts = facts(),
): boolean {
  return decideRequest(compilePolicies(policies, "l7"), connection, asked).allowed;
}

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

describe("fields of a connection", () => {
  const client = "cluster.local/ns/default/sa/client";
  const rows: readonly [string, PolicyRule, Partial<ConnectionFacts>, boolean][] = [
    ["exact principal", from({ principals: list(client) }), {}, true],
    ["principal with scheme never equals", from({ principals: list(`spiffe://${client}`) }), {}, false],
    ["a longer account is another", from({ principals: list("cluster.local/ns/default/sa/clien") }), {}, false],
    ["a dot is a dot", from({ principals: list("clusterXlocal/ns/default/sa/client") }), {}, false],
    [
      "a dot of the account is a dot",
      from({ principals: list("cluster.local/ns/default/sa/a.b") }),
      { principal: id("spiffe://cluster.local/ns/default/sa/axb") },
      false,
    ],
    [
      "another trust domain, same namespace and account",
      from({ principals: list(client) }),
      { principal: id("spiffe://other.example/ns/default/sa/client") },
      false,
    ],
    ["a name without trust domain never equals", from({ principals: list("ns/default/sa/client") }), {}, false],
    ["prefix", from({ principals: list("cluster.local/ns/default/*") }), {}, true],
    ["prefix of another namespace", from({ principals: list("cluster.local/ns/def/*") }), {}, false],
    ["suffix", from({ principals: list("*/sa/client") }), {}, true],
    ["presence", from({ principals: list("*") }), {}, true],
    ["presence without identity", from({ principals: list("*") }), { principal: undefined }, false],
    ["a prefix of no characters is presence", from({ principals: [{ kind: "prefix", value: "" }] }), {}, true],
    [
      "a prefix of no characters never matches the missing identity",
      from({ principals: [{ kind: "prefix", value: "" }] }),
      { principal: undefined },
      false,
    ],
    ["not any principal is plaintext", from({ notPrincipals: list("*") }), { principal: undefined }, true],
    ["not any principal refuses an identity", from({ notPrincipals: list("*") }), {}, false],
    ["not another principal", from({ notPrincipals: list("cluster.local/ns/x/sa/y") }), {}, true],
    ["namespace", from({ namespaces: list("default") }), {}, true],
    ["namespace is whole", from({ namespaces: list("defaul") }), {}, false],
    ["namespace without identity", from({ namespaces: list("default") }), { principal: undefined }, false],
    [
      "an ID that is no workload's has no namespace",
      from({ namespaces: list("*") }),
      { principal: id("spiffe://cluster.local/ns/default/sa/client/more") },
      false,
    ],
    ["not this namespace", from({ notNamespaces: list("default") }), {}, false],
    ["ip block", from({ ipBlocks: [cidr("10.0.0.0/24")] }), {}, true],
    ["one address", from({ ipBlocks: [cidr("10.0.0.8")] }), {}, false],
    ["ip block of the other family", from({ ipBlocks: [cidr("::/0")] }), {}, false],
    [
      "mapped address is its IPv4 self",
      from({ ipBlocks: [cidr("10.0.0.0/8")] }),
      { sourceIp: ip("::ffff:10.1.2.3") },
      true,
    ],
    ["not in block", from({ notIpBlocks: [cidr("10.0.0.0/24")] }), {}, false],
    ["port", to({ ports: [80, 9080] }), {}, true],
    ["not port", to({ notPorts: [9080] }), {}, false],
    ["not another port", to({ notPorts: [80] }), {}, true],
    ["fields of one source are AND", from({ principals: list(client), namespaces: list("other") }), {}, false],
    ["sources are OR", { from: [{ namespaces: list("x") }, { namespaces: list("default") }], to: [] }, {}, true],
    ["from AND to", { from: [{ namespaces: list("default") }], to: [{ ports: [1] }] }, {}, false],
    ["an empty source matches", from({}), {}, true],
    ["an empty list asks nothing", from({ principals: [] }), { principal: undefined }, true],
  ];
  for (const [name, rule, connection, expected] of rows) {
    it(name, () => {
      assert.equal(allowed([policy("ALLOW", [rule])], facts(connection)), expected, "ALLOW");
      assert.equal(!allowed([policy("DENY", [rule])], facts(connection)), expected, "DENY");
    });
  }
});

describe("fields of a request", () => {
  const rows: readonly [string, PolicyRule, Partial<RequestFacts>, boolean][] = [
    ["method", to({ methods: list("GET", "HEAD") }), {}, true],
    ["methods are case-sensitive", to({ methods: list("get") }), {}, false],
    ["not method", to({ notMethods: list("GET") }), {}, false],
    ["path", to({ paths: list("/reviews/1") }), {}, true],
    ["paths are case-sensitive", to({ paths: list("/Reviews/1") }), {}, false],
    ["path prefix is of characters, as Istio has it", to({ paths: list("/rev*") }), {}, true],
    ["path prefix with its slash ends at the segment", to({ paths: list("/reviews/*") }), { path: "/reviewsx" }, false],
    ["path suffix", to({ paths: list("*.html") }), { path: "/a.html" }, true],
    ["not path", to({ notPaths: list("/admin*") }), { path: "/admin" }, false],
    ["host with port", to({ hosts: list("reviews:9080") }), {}, true],
    ["host without the sent port is another", to({ hosts: list("reviews") }), {}, false],
    ["hosts are case-insensitive", to({ hosts: list("REVIEWS:9080") }), {}, true],
    ["host suffix", to({ hosts: list("*.example.com") }), { host: "a.example.com" }, true],
    ["host suffix keeps its dot", to({ hosts: list("*.example.com") }), { host: "evilexample.com" }, false],
    ["not host", to({ notHosts: list("reviews*") }), {}, false],
    ["host presence", to({ hosts: list("*") }), { host: "" }, false],
    ["fields of one operation are AND", to({ methods: list("GET"), paths: list("/x") }), {}, false],
    ["operations are OR", { from: [], to: [{ paths: list("/x") }, { methods: list("GET") }] }, {}, true],
    ["operation of another port", to({ ports: [1], methods: list("GET") }), {}, false],
    ["an operation of the connection suffices", { from: [], to: [{ paths: list("/x") }, { ports: [9080] }] }, {}, true],
  ];
  for (const [name, rule, asked, expected] of rows) {
    it(name, () => {
      assert.equal(allowedRequest([policy("ALLOW", [rule])], request(asked)), expected, "ALLOW");
      assert.equal(!allowedRequest([policy("DENY", [rule])], request(asked)), expected, "DENY");
    });
  }
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

describe("federated callers", () => {
  const foreign = facts({ principal: id("spiffe://other.example/ns/default/sa/client") });
  const own = domain("cluster.local");
  const inNamespace = from({ namespaces: list("default") });
  const notInNamespace = from({ notNamespaces: list("default") });

  it("are not allowed by bearing the name of one of our namespaces", () => {
    const compiled = compilePolicies([policy("ALLOW", [inNamespace])], "l4", own);
    assert(!decide(compiled, foreign).allowed);
    assert(decide(compiled, facts()).allowed);
  });

  it("are denied where their namespace's name is denied", () => {
    assert(!decide(compilePolicies([policy("DENY", [inNamespace])], "l4", own), foreign).allowed);
  });

  it("are denied where all but our namespace is denied", () => {
    const compiled = compilePolicies([policy("DENY", [notInNamespace])], "l4", own);
    assert(!decide(compiled, foreign).allowed);
    assert(decide(compiled, facts()).allowed);
  });

  it("are compared by name alone when our own domain is not given", () => {
    assert(decide(compilePolicies([policy("ALLOW", [inNamespace])], "l4"), foreign).allowed);
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
