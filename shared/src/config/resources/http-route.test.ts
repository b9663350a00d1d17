import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { HttpRoute } from "../http-route.ts";
import { routeBackend, routeMatch, routeParent, routeRule } from "@culvert/test/support/fixtures.ts";
import { brief, parseText } from "./text-fixtures.ts";

const HEAD = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\n";
const PARENT = "parentRefs: [{group: '', kind: Service, name: reviews}]";

function parse(spec: string): { route: HttpRoute | undefined; problems: string[] } {
  const { resources, problems } = parseText(`${HEAD}spec:\n  ${spec.replaceAll("\n", "\n  ")}`);
  const [route] = resources;
  return { route: route?.kind === "HTTPRoute" ? route.route : undefined, problems: brief(problems) };
}

function rule(text: string): ReturnType<typeof parse> {
  return parse(`${PARENT}\nrules:\n- ${text}`);
}

test("a route as people write it", () => {
  const { route, problems } = parse(`parentRefs:
- {group: "", kind: Service, name: reviews}
- {group: core, kind: Service, namespace: other, name: ratings, port: 9080}
- {name: ingress}
- {group: gateway.networking.k8s.io, kind: Gateway, name: ingress, sectionName: https}
hostnames: [reviews.example.com, "*.example.org"]
rules:
- name: canary
  matches:
  - path: {type: Exact, value: /v2}
    method: GET
    headers: [{name: X-Canary, value: "yes"}, {type: Exact, name: Accept, value: a/b}]
  - path: {value: /v3/}
  - {}
  filters: []
  backendRefs:
  - {name: reviews-v1, port: 9080, weight: 90}
  - {group: "", kind: Service, name: reviews-v2, namespace: other, port: 9080, weight: 0}
- backendRefs: [{name: reviews, port: 80}]`);
  assert.deepEqual(problems, []);
  assert.deepEqual(route, {
    kind: "HTTPRoute",
    uid: "shop/r",
    namespace: "shop",
    name: "r",
    createdAt: 0,
    parents: [routeParent("shop/reviews"), routeParent("other/ratings", { port: 9080 })],
    hostnames: ["reviews.example.com", "*.example.org"],
    rules: [
      routeRule({
        name: "canary",
        matches: [
          routeMatch({
            path: { kind: "exact", value: "/v2" },
            method: "GET",
            headers: [
              { name: "x-canary", kind: "exact", value: "yes" },
              { name: "accept", kind: "exact", value: "a/b" },
            ],
          }),
          routeMatch({ path: { kind: "prefix", value: "/v3/" } }),
          routeMatch(),
        ],
        backends: [
          routeBackend("shop/reviews-v1", 9080, { weight: 90 }),
          routeBackend("other/reviews-v2", 9080, { weight: 0 }),
        ],
      }),
      routeRule({ backends: [routeBackend("shop/reviews", 80)] }),
    ],
    notUnderstood: undefined,
  });
});

test("no rules are one rule that matches all and leads nowhere", () => {
  const { route } = parse(PARENT);
  assert.deepEqual(route?.rules, [routeRule()]);
  assert.deepEqual(parse(`${PARENT}\nrules: []`).route?.rules, []);
});

describe("what a rule cannot do makes the rule answer 500", () => {
  const rows: [string, string, string][] = [
    [
      "a filter",
      "filters: [{type: RequestHeaderModifier}]",
      "- 7: spec.rules[0].filters: is not supported in this release",
    ],
    ["timeouts", "timeouts: {request: 1s}", "- 7: spec.rules[0].timeouts: is not supported in this release"],
    ["retry", "retry: {attempts: 1}", "- 7: spec.rules[0].retry: is not supported in this release"],
    [
      "session persistence",
      "sessionPersistence: {}",
      "- 7: spec.rules[0].sessionPersistence: is not supported in this release",
    ],
    [
      "a filter of a backend",
      "backendRefs: [{name: a, port: 1, filters: [{}]}]",
      "- 7: spec.rules[0].backendRefs[0].filters: is not supported in this release",
    ],
    [
      "an unknown field",
      "backendRef: []",
      "- 7: spec.rules[0].backendRef: this field is not supported; did you mean backendRefs?",
    ],
    [
      "a malformed weight",
      "backendRefs: [{name: a, port: 1, weight: 1.5}]",
      "- 7: spec.rules[0].backendRefs[0].weight: expected whole number from 0 to 1000000, found 1.5",
    ],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { route, problems } = rule(text);
      assert.deepEqual(problems, [expected]);
      assert.equal(
        route?.rules[0]?.notUnderstood,
        `f.yaml:${expected.slice(2).replace(" ", "")}`.replace(":spec", ": spec"),
      );
      assert.equal(route?.notUnderstood, undefined);
    });
  }

  test("and leaves the others alone", () => {
    const { route } = parse(`${PARENT}\nrules:\n- filters: [{}]\n- backendRefs: [{name: a, port: 1}]`);
    assert.notEqual(route?.rules[0]?.notUnderstood, undefined);
    assert.equal(route?.rules[1]?.notUnderstood, undefined);
  });
});

describe("what a match cannot tell apart makes the whole route answer 500", () => {
  const rows: [string, string, string][] = [
    [
      "a regular expression",
      "path: {type: RegularExpression, value: '/a.*'}",
      "path.type: only Exact and PathPrefix are supported",
    ],
    [
      "a header by regular expression",
      "headers: [{type: RegularExpression, name: a, value: b}]",
      "headers[0].type: only Exact is supported",
    ],
    ["a query parameter", "queryParams: [{name: a, value: b}]", "queryParams: is not supported in this release"],
    ["an unknown field", "paths: /a", "paths: this field is not supported; did you mean path?"],
    [
      "a method",
      "method: get",
      'method: expected GET | HEAD | POST | PUT | DELETE | CONNECT | OPTIONS | TRACE | PATCH, found "get"',
    ],
    ["a header without value", "headers: [{name: a}]", "headers[0]: expected a name and a value"],
    ["a header name", "headers: [{name: 'a b', value: c}]", 'headers[0].name: expected a header name, found "a b"'],
    ...["a", "//a", "/a//b", "/./a", "/a/..", "/%2Fa", "/a?b", "/a#b", "/a b"].map(
      (value): [string, string, string] => [
        `the path ${value}`,
        `path: {value: ${JSON.stringify(value)}}`,
        `path.value: expected a path that begins with / and is in normal form, found ${JSON.stringify(value)}`,
      ],
    ),
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { route, problems } = rule(`matches: [{${text}}]`);
      assert.equal(problems[0], `- 7: spec.rules[0].matches[0].${expected}`);
      assert.ok(route?.notUnderstood?.startsWith(`f.yaml:7: spec.rules[0].matches[0].${expected}`));
    });
  }
});

describe("what the route itself cannot do makes it answer 500", () => {
  const rows: [string, string, string][] = [
    [
      "a section of a Service",
      "parentRefs: [{group: '', kind: Service, name: a, sectionName: http}]",
      "spec.parentRefs[0].sectionName: is not supported for a Service; use port",
    ],
    [
      "another parent",
      "parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: a}]",
      "spec.parentRefs[0]: expected a Service or Gateway, found networking.istio.io/ServiceEntry",
    ],
    [
      "a host name",
      `hostnames: ["a*"]\n${PARENT}`,
      'spec.hostnames[0]: expected a host name, or *. and a host name, found "a*"',
    ],
    ["an unknown field", `useDefaultGateways: All\n${PARENT}`, "spec.useDefaultGateways: this field is not supported"],
  ];
  for (const [name, text, expected] of rows) {
    test(name, () => {
      const { route, problems } = parse(text);
      assert.deepEqual(problems, [`- 5: ${expected}`]);
      assert.equal(route?.notUnderstood, `f.yaml:5: ${expected}`);
    });
  }
});

test("a backend may be a host", () => {
  const { route, problems } = rule(
    "backendRefs: [{kind: Hostname, group: networking.istio.io, name: api.example.com, port: 443}]",
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(route?.rules[0]?.backends, [routeBackend("shop/api.example.com", 443, { kind: "host" })]);
});

describe("a backend that can never be served keeps its share", () => {
  const rows: [string, string][] = [
    [
      "{kind: ServiceEntry, group: networking.istio.io, name: a, port: 1}",
      "expected a Service, or a Hostname of networking.istio.io, found networking.istio.io/ServiceEntry",
    ],
    ["{name: a}", "expected a port of the Service"],
    [
      "{kind: Hostname, name: a.example, port: 1}",
      "expected a Service, or a Hostname of networking.istio.io, found /Hostname",
    ],
    ["{kind: Hostname, group: networking.istio.io, name: a.example}", "expected a port of the host"],
    ["{kind: Hostname, group: networking.istio.io, port: 1}", "expected the name of a host"],
    ["{port: 1}", "expected the name of a Service"],
  ];
  for (const [backend, reason] of rows) {
    test(backend, () => {
      const { route, problems } = rule(`backendRefs: [${backend}, {name: b, port: 1}]`);
      assert.deepEqual(problems, [`- 7: spec.rules[0].backendRefs[0]: ${reason}`]);
      assert.equal(route?.rules[0]?.notUnderstood, undefined);
      assert.equal(route?.rules[0]?.backends[0]?.invalid, reason);
      assert.equal(route?.rules[0]?.backends[1]?.invalid, undefined);
    });
  }
});
