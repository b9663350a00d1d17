import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ip } from "@culvert/test/support/fixtures.ts";
import type { ConnectionFacts, PolicyRule, RequestFacts } from "./authorization.ts";
import { compilePolicies } from "./compile.ts";
import { decide } from "./decide.ts";
import {
  allowed,
  allowedRequest,
  cidr,
  domain,
  facts,
  from,
  id,
  list,
  policy,
  request,
  to,
} from "./policy-fixtures.ts";

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

describe("aliases of our own trust domain", () => {
  const aliases = new Set([domain("old.test"), domain("older.test")]);
  const permitted = (action: "ALLOW" | "DENY", source: PolicyRule["from"][number], principal: string): boolean => {
    const compiled = compilePolicies([policy(action, [from(source)])], "l4", domain("cluster.local"), aliases);
    return decide(compiled, facts({ principal: id(principal) })).allowed;
  };
  const callers = ["cluster.local", "old.test", "older.test"].map((name) => `spiffe://${name}/ns/default/sa/client`);
  const sources: readonly [string, PolicyRule["from"][number], matches: boolean][] = [
    ["our own name", { principals: list("cluster.local/ns/default/sa/client") }, true],
    ["the name in an alias", { principals: list("old.test/ns/default/sa/client") }, true],
    ["all names of an alias", { principals: list("older.test/*") }, true],
    ["another account in an alias", { principals: list("old.test/ns/default/sa/other") }, false],
    ["a namespace", { namespaces: list("default") }, true],
    ["another namespace", { namespaces: list("other") }, false],
    ["all but a name in an alias", { notPrincipals: list("old.test/ns/default/sa/client") }, false],
    ["all but a namespace", { notNamespaces: list("default") }, false],
    ["a foreign trust domain", { principals: list("theirs.test/*") }, false],
  ];
  for (const [what, source, matches] of sources) {
    it(`${what} means the caller by any of its names`, () => {
      for (const caller of callers) {
        assert.equal(permitted("ALLOW", source, caller), matches, `ALLOW ${caller}`);
        assert.equal(permitted("DENY", source, caller), !matches, `DENY ${caller}`);
      }
    });
  }

  it("a trust domain that is no alias stays a foreign one", () => {
    const stranger = "spiffe://theirs.test/ns/default/sa/client";
    assert.equal(permitted("ALLOW", { namespaces: list("default") }, stranger), false);
    assert.equal(permitted("ALLOW", { principals: list("cluster.local/ns/default/sa/client") }, stranger), false);
  });
});
