import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { routeBackend, routeMatch, routeParent, routeRule } from "@culvert/test/support/fixtures.ts";
import type { HttpPathMatch } from "../../http-route.ts";
import type { HttpRouteDraft } from "../resource.ts";
import { brief, parseText } from "../text-fixtures.ts";

function parse(spec: string, version = "v1"): { route: HttpRouteDraft | undefined; problems: string[] } {
  const head = `apiVersion: gateway.networking.k8s.io/${version}\nkind: GRPCRoute\nmetadata: {name: r, namespace: shop}\n`;
  const { resources, problems } = parseText(`${head}spec:\n  ${spec.replaceAll("\n", "\n  ")}`);
  const [route] = resources;
  return { route: route?.kind === "GRPCRoute" ? route.route : undefined, problems: brief(problems) };
}

test("a route as people write it", () => {
  const { route, problems } = parse(
    `parentRefs: [{group: "", kind: Service, name: echo, port: 7070}]
hostnames: [echo.example.com]
rules:
- name: canary
  matches:
  - method: {service: shop.v1.Reviews, method: List}
    headers: [{name: X-Canary, value: "yes"}]
  filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}}]
  backendRefs: [{name: echo-v1, port: 7070, weight: 70}, {name: echo-v2, port: 7070, weight: 30}]
- {}`,
    "v1alpha2",
  );
  assert.deepEqual(problems, []);
  assert.deepEqual(route, {
    kind: "GRPCRoute",
    uid: "shop/r",
    namespace: "shop",
    name: "r",
    createdAt: 0,
    parents: [routeParent("shop/echo", { port: 7070 })],
    hostnames: ["echo.example.com"],
    rules: [
      routeRule({
        name: "canary",
        matches: [
          routeMatch({
            path: { kind: "exact", value: "/shop.v1.Reviews/List" },
            headers: [{ name: "x-canary", kind: "exact", value: "yes" }],
          }),
        ],
        filters: [{ kind: "request-headers", edit: { set: [], add: [], remove: ["x-a"] } }],
        backends: [
          routeBackend("shop/echo-v1", 7070, { weight: 70 }),
          routeBackend("shop/echo-v2", 7070, { weight: 30 }),
        ],
      }),
      routeRule(),
    ],
    notUnderstood: undefined,
  });
});

describe("a method is a path", () => {
  const rows: [string, HttpPathMatch][] = [
    ["{service: a.B, method: C}", { kind: "exact", value: "/a.B/C" }],
    ["{service: a.B}", { kind: "prefix", value: "/a.B" }],
    ["{method: C}", { kind: "regex", value: "/[^/]+/C" }],
    ["{type: RegularExpression, service: a|b}", { kind: "regex", value: "/(?:a|b)/[^/]+" }],
    ["{type: RegularExpression, service: a, method: Get.*}", { kind: "regex", value: "/(?:a)/(?:Get.*)" }],
  ];
  for (const [method, path] of rows) {
    test(method, () => {
      const { route, problems } = parse(`rules: [{matches: [{method: ${method}}]}]`);
      assert.deepEqual(problems, []);
      assert.deepEqual(route?.rules[0]?.matches, [routeMatch({ path })]);
    });
  }
});

describe("what is not understood", () => {
  const rows: [string, string, "route" | "rule"][] = [
    ["matches: [{method: {}}]", "matches[0].method: expected a service, a method or both", "route"],
    [
      "matches: [{method: {service: a/b}}]",
      'matches[0].method.service: expected the name of a service, found "a/b"',
      "route",
    ],
    [
      "matches: [{method: {type: Prefix, service: a}}]",
      "matches[0].method.type: only Exact and RegularExpression",
      "route",
    ],
    ["matches: [{path: {value: /a}}]", "matches[0].path: this field is not supported", "route"],
    [
      "filters: [{type: RequestRedirect, requestRedirect: {}}]",
      "filters[0].type: expected one of RequestHeaderModifier",
      "rule",
    ],
    ["timeouts: {request: 1s}", "timeouts: this field is not supported", "rule"],
  ];
  for (const [rule, expected, where] of rows) {
    test(rule, () => {
      const { route, problems } = parse(`rules: [{${rule}}]`);
      assert.ok(problems[0]?.startsWith(`- 5: spec.rules[0].${expected}`), problems.join());
      assert.equal(route?.notUnderstood !== undefined, where === "route");
      assert.equal(route?.rules[0]?.notUnderstood !== undefined, where === "rule");
    });
  }
});
