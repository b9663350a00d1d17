import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { AuthorizationPolicy } from "../../policy/authorization.ts";
import { brief, parseText } from "./text-fixtures.ts";

function parse(spec: string, metadata = ""): { policy: AuthorizationPolicy; problems: string[] } {
  const head = `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop${metadata}}\n`;
  const { resources, problems } = parseText(`${head}spec: {${spec}}\n`);
  const [policy] = resources;
  assert.ok(policy?.kind === "AuthorizationPolicy");
  return { policy: policy.policy, problems: brief(problems) };
}

function exact(value: string): object {
  return { kind: "exact", value };
}

function source(fields: string): string {
  return `rules: [{from: [{source: {${fields}}}]}]`;
}

function operation(fields: string): string {
  return `rules: [{to: [{operation: {${fields}}}]}]`;
}

test("a policy as people write it", () => {
  const { policy, problems } = parse(
    `action: DENY, selector: {matchLabels: {app: reviews}}, rules: [{
      from: [
        {source: {principals: ["cluster.local/ns/a/sa/b", "*", "*/sa/c", "cluster.local/*"], notPrincipals: [x]}},
        {source: {namespaces: [a], notNamespaces: [b-*], ipBlocks: [10.1.2.3/8, "::1"], notIpBlocks: [10.0.0.1]}}],
      to: [
        {operation: {ports: ["80", 81], notPorts: ["82"]}},
        {operation: {hosts: ["*.example.com"], notHosts: [a], methods: [GET], notMethods: [PUT], paths: [/a*], notPaths: [/b]}}]}]`,
    ', annotations: {istio.io/dry-run: "true"}',
  );
  assert.deepEqual(problems, []);
  const cidrs = policy.rules[0]?.from[1];
  assert.deepEqual(
    cidrs?.ipBlocks?.map(({ text }) => text),
    ["10.0.0.0/8", "::1/128"],
  );
  assert.deepEqual(
    cidrs.notIpBlocks?.map(({ text }) => text),
    ["10.0.0.1/32"],
  );
  assert.deepEqual(
    { ...policy, rules: policy.rules.map(({ from, to }) => ({ from: [from[0]], to })) },
    {
      uid: "shop/p",
      namespace: "shop",
      name: "p",
      action: "DENY",
      dryRun: true,
      target: { kind: "selector", labels: new Map([["app", "reviews"]]) },
      rules: [
        {
          from: [
            {
              principals: [
                exact("cluster.local/ns/a/sa/b"),
                { kind: "presence", value: "" },
                { kind: "suffix", value: "/sa/c" },
                { kind: "prefix", value: "cluster.local/" },
              ],
              notPrincipals: [exact("x")],
            },
          ],
          to: [
            { ports: [80, 81], notPorts: [82] },
            {
              hosts: [{ kind: "suffix", value: ".example.com" }],
              notHosts: [exact("a")],
              methods: [exact("GET")],
              notMethods: [exact("PUT")],
              paths: [{ kind: "prefix", value: "/a" }],
              notPaths: [exact("/b")],
            },
          ],
        },
      ],
      notUnderstood: undefined,
    },
  );
});

describe("what a policy applies to", () => {
  const rows: [string, string, AuthorizationPolicy["target"]][] = [
    ["nothing said", "", { kind: "namespace" }],
    ["an empty selector", "selector: {}", { kind: "namespace" }],
    ["no labels", "selector: {matchLabels: {}}", { kind: "namespace" }],
    [
      "labels",
      "selector: {matchLabels: {a: b, c: d}}",
      {
        kind: "selector",
        labels: new Map([
          ["a", "b"],
          ["c", "d"],
        ]),
      },
    ],
    [
      "a Service",
      "targetRefs: [{kind: Service, group: '', name: a}]",
      { kind: "refs", refs: [{ kind: "Service", name: "a" }] },
    ],
    [
      "a Service and a Gateway",
      "targetRefs: [{kind: Service, group: core, name: a}, {kind: Gateway, group: gateway.networking.k8s.io, name: b, namespace: shop}]",
      {
        kind: "refs",
        refs: [
          { kind: "Service", name: "a" },
          { kind: "Gateway", name: "b" },
        ],
      },
    ],
    [
      "the older single form",
      "targetRef: {kind: Service, name: a}",
      { kind: "refs", refs: [{ kind: "Service", name: "a" }] },
    ],
  ];
  for (const [name, spec, target] of rows) {
    test(name, () => {
      const { policy, problems } = parse(spec);
      assert.deepEqual(problems, []);
      assert.deepEqual(policy.target, target);
    });
  }
});

test("rules: none, and one that matches all", () => {
  assert.deepEqual(parse("").policy.rules, []);
  assert.deepEqual(parse("rules: []").policy.rules, []);
  assert.deepEqual(parse("rules: [{}]").policy.rules, [{ from: [], to: [] }]);
  assert.deepEqual(parse("rules: [{when: []}]").policy, parse("rules: [{}]").policy);
  const { resources } = parseText(
    "apiVersion: security.istio.io/v1beta1\nkind: AuthorizationPolicy\nmetadata: {name: p}\n",
  );
  assert.ok(resources[0]?.kind === "AuthorizationPolicy");
  assert.equal(resources[0].policy.action, "ALLOW");
  assert.equal(resources[0].policy.notUnderstood, undefined);
});

describe("what is not understood makes the policy deny what it selects", () => {
  const FROM = "spec.rules[0].from[0].source";
  const TO = "spec.rules[0].to[0].operation";
  const unsupported = "this field is not supported";
  const rows: [string, string, string][] = [
    ["CUSTOM", "action: CUSTOM", "spec.action: expected ALLOW or DENY, found CUSTOM"],
    ["AUDIT", "action: AUDIT", "spec.action: expected ALLOW or DENY, found AUDIT"],
    ["an action in lower case", "action: deny", "spec.action: expected ALLOW or DENY, found deny"],
    ["an action that is no word", "action: 1", "spec.action: expected a string, found 1"],
    ["a provider", "provider: {name: x}", `spec.provider: ${unsupported}`],
    ["a misspelt field", "rulse: []", `spec.rulse: ${unsupported}; did you mean rules?`],
    [
      "when",
      "rules: [{when: [{key: source.ip, values: [a]}]}]",
      "spec.rules[0].when: conditions are not supported in this release",
    ],
    ["rules that are no list", "rules: {}", "spec.rules: expected a list, found a mapping"],
    ["a rule that is none", "rules: [a]", 'spec.rules[0]: expected a mapping, found "a"'],
    ["an unknown field of a rule", "rules: [{form: []}]", `spec.rules[0].form: ${unsupported}; did you mean from?`],
    [
      "an empty from",
      "rules: [{from: []}]",
      "spec.rules[0].from: expected at least one source; leave from out to match all",
    ],
    [
      "an empty source",
      "rules: [{from: [{source: {}}]}]",
      "spec.rules[0].from[0].source: expected at least one field; leave from out to match all",
    ],
    [
      "no source",
      "rules: [{from: [{}]}]",
      "spec.rules[0].from[0].source: expected at least one field; leave from out to match all",
    ],
    [
      "an empty to",
      "rules: [{to: []}]",
      "spec.rules[0].to: expected at least one operation; leave to out to match all",
    ],
    ["service accounts", source("serviceAccounts: [a]"), `${FROM}.serviceAccounts: ${unsupported}`],
    ["remote addresses", source("remoteIpBlocks: [10.0.0.0/8]"), `${FROM}.remoteIpBlocks: ${unsupported}`],
    ["request principals", source("requestPrincipals: ['*']"), `${FROM}.requestPrincipals: ${unsupported}`],
    ["trust domains", source("notTrustDomains: [a]"), `${FROM}.notTrustDomains: ${unsupported}`],
    ["an empty list", source("principals: []"), `${FROM}.principals: expected at least one value`],
    ["a list that is none", source("principals: a"), `${FROM}.principals: expected a list, found "a"`],
    [
      "a principal as URI",
      source("principals: ['spiffe://cluster.local/ns/a/sa/b']"),
      `${FROM}.principals[0]: expected a principal without spiffe://, such as cluster.local/ns/default/sa/reviews, found "spiffe://cluster.local/ns/a/sa/b"`,
    ],
    [
      "two stars",
      source("namespaces: ['*a*']"),
      `${FROM}.namespaces[0]: expected at most one *, at the beginning or the end, found "*a*"`,
    ],
    [
      "a star inside",
      source("namespaces: ['a*b']"),
      `${FROM}.namespaces[0]: expected at most one *, at the beginning or the end, found "a*b"`,
    ],
    [
      "an empty string",
      source("namespaces: ['']"),
      `${FROM}.namespaces[0]: expected a string (in quotes if it looks like another type), found ""`,
    ],
    [
      "a null",
      source("namespaces: [~]"),
      `${FROM}.namespaces[0]: expected a string (in quotes if it looks like another type), found nothing`,
    ],
    [
      "a bad block",
      source("ipBlocks: [10.0.0.0/33]"),
      `${FROM}.ipBlocks[0]: expected an IP address or CIDR block, found "10.0.0.0/33"`,
    ],
    ["a bad port", operation("ports: [http]"), `${TO}.ports[0]: expected a port, found "http"`],
    ["port 0", operation("ports: ['0']"), `${TO}.ports[0]: expected a port, found "0"`],
    ["a port range", operation("ports: ['80-90']"), `${TO}.ports[0]: expected a port, found "80-90"`],
    [
      "a path template",
      operation("paths: ['/a/{*}']"),
      `${TO}.paths[0]: expected a path without templates, which are not supported in this release, found "/a/{*}"`,
    ],
    ["a selector by expression", "selector: {matchExpressions: []}", `spec.selector.matchExpressions: ${unsupported}`],
    [
      "a selector with a null",
      "selector: {matchLabels: {app: }}",
      "spec.selector.matchLabels.app: expected a string (in quotes if it looks like another type), found nothing",
    ],
    [
      "a label that cannot be",
      "selector: {matchLabels: {app: 'a b'}}",
      'spec.selector.matchLabels: expected a label, found "app"',
    ],
    [
      "a selector and references",
      "selector: {matchLabels: {a: b}}, targetRefs: [{kind: Service, name: a}]",
      "spec: expected selector or targetRefs, found both",
    ],
    ["no references", "targetRefs: []", "spec.targetRefs: expected at least one reference"],
    [
      "a class",
      "targetRefs: [{kind: GatewayClass, group: gateway.networking.k8s.io, name: x}]",
      "spec.targetRefs[0]: expected a Service, ServiceEntry or Gateway, found gateway.networking.k8s.io/GatewayClass",
    ],
    [
      "a reference into another namespace",
      "targetRefs: [{kind: Service, name: x, namespace: other}]",
      "spec.targetRefs[0].namespace: only the policy's own namespace is supported",
    ],
    [
      "a reference without name",
      "targetRefs: [{kind: Service}]",
      "spec.targetRefs[0].name: expected the name of a resource",
    ],
  ];
  for (const [name, spec, expected] of rows) {
    test(name, () => {
      const { policy, problems } = parse(spec);
      assert.equal(problems[0], `- 4: ${expected}`);
      assert.equal(policy.notUnderstood, `f.yaml:4: ${expected}`);
    });
  }

  test("where the target is not understood, it is the whole namespace", () => {
    for (const spec of [
      "targetRefs: [{kind: X, name: a}]",
      "selector: {matchLabels: {app: }}",
      "targetRefs: []",
      "selector: 1",
    ]) {
      assert.deepEqual(parse(spec).policy.target, { kind: "namespace" }, spec);
    }
  });

  test("no value of a kind that cannot be read is taken for something else", () => {
    for (const value of ["1", "true", "[a]", "{a: b}", "~"]) {
      for (const field of ["principals", "namespaces", "ipBlocks"]) {
        assert.notEqual(parse(source(`${field}: [${value}]`)).policy.notUnderstood, undefined, `${field}: ${value}`);
      }
    }
  });

  test("a spec that is no mapping", () => {
    const text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec: []\n";
    const [policy] = parseText(text).resources;
    assert.ok(policy?.kind === "AuthorizationPolicy");
    assert.equal(policy.policy.notUnderstood, "f.yaml:4: spec: expected a mapping, found a list");
  });
});
