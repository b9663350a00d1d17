import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { HttpRoute, HttpRouteMatch, HttpRouteRule } from "@culvert/shared/config/http-route.ts";
import { route as routeOf, routeMatch, routeRule } from "@culvert/test/support/fixtures.ts";
import { RouteGroup } from "./route-group.ts";

interface MatchText {
  path?: string;
  method?: string;
  headers?: Record<string, string>;
}

function match({ path = "/", method, headers = {} }: MatchText): HttpRouteMatch {
  const exact = path.startsWith("=");
  return routeMatch({
    path: { kind: exact ? "exact" : "prefix", value: exact ? path.slice(1) : path },
    method,
    headers: Object.entries(headers).map(([name, value]) => ({ name, kind: "exact", value })),
  });
}

function rule(name: string, matches: MatchText[], more: Partial<HttpRouteRule> = {}): HttpRouteRule {
  return routeRule({ name, matches: matches.map(match), ...more });
}

function route(name: string, rules: HttpRouteRule[], more: Partial<HttpRoute> = {}): HttpRoute {
  return routeOf(name, { rules, ...more });
}

function ask(group: RouteGroup, request: string, headers: Record<string, string> = {}, hostname = "reviews"): string {
  const [method = "", path = ""] = request.split(" ");
  const values = group.headerNames.map((name) => headers[name]);
  const found = group.find({ method, path, hostname, headers: values });
  return isFailure(found) ? found.code : `${found.route.name}/${found.name}`;
}

test("the precedence of Gateway API: exact, longest prefix, method, headers", () => {
  const group = new RouteGroup([
    route("r", [
      rule("root", [{}]),
      rule("prefix", [{ path: "/v2" }]),
      rule("longer", [{ path: "/v2/api" }]),
      rule("exact", [{ path: "=/v2/api" }]),
      rule("post", [{ path: "/v2", method: "POST" }]),
      rule("one", [{ path: "/v2", headers: { version: "2" } }]),
      rule("two", [{ path: "/v2", headers: { version: "2", color: "blue" } }]),
    ]),
  ]);
  assert.equal(ask(group, "GET /"), "r/root");
  assert.equal(ask(group, "GET /v2/x"), "r/prefix");
  assert.equal(ask(group, "GET /v2/api/x"), "r/longer");
  assert.equal(ask(group, "GET /v2/api"), "r/exact");
  assert.equal(ask(group, "POST /v2"), "r/post");
  assert.equal(ask(group, "GET /v2", { version: "2" }), "r/one");
  assert.equal(ask(group, "GET /v2", { version: "2", color: "blue" }), "r/two");
  assert.equal(ask(group, "POST /v2", { version: "2", color: "blue" }), "r/post", "a method outranks headers");
  assert.equal(ask(group, "GET /v2", { version: "3" }), "r/prefix");
});

test("matches of one rule have ranks of their own", () => {
  const group = new RouteGroup([
    route("r", [rule("first", [{}, { headers: { version: "two" } }]), rule("second", [{ path: "/v2" }])]),
  ]);
  assert.equal(ask(group, "GET /"), "r/first");
  assert.equal(ask(group, "GET /v2", { version: "two" }), "r/second");
  assert.equal(ask(group, "GET /x", { version: "two" }), "r/first");
});

test("among equals the older route, then the name, then the position", () => {
  const older = route("b", [rule("x", [{}])], { createdAt: 1 });
  const newer = route("a", [rule("x", [{}])], { createdAt: 2 });
  assert.equal(ask(new RouteGroup([newer, older]), "GET /"), "b/x");
  const same = [route("b", [rule("x", [{}])]), route("a", [rule("x", [{}]), rule("y", [{}])])];
  assert.equal(ask(new RouteGroup(same), "GET /"), "a/x");
});

test("methods and header values are compared as they are, GET is not HEAD", () => {
  const group = new RouteGroup([route("r", [rule("x", [{ method: "GET", headers: { color: "Blue" } }])])]);
  assert.equal(ask(group, "GET /", { color: "Blue" }), "r/x");
  assert.equal(ask(group, "HEAD /", { color: "Blue" }), "ROUTE_NOT_FOUND");
  assert.equal(ask(group, "GET /", { color: "blue" }), "ROUTE_NOT_FOUND");
  assert.equal(ask(group, "GET /"), "ROUTE_NOT_FOUND");
});

test("of two header matches for one name the first counts", () => {
  const twice = {
    ...match({}),
    headers: [
      { name: "a", kind: "exact" as const, value: "1" },
      { name: "a", kind: "exact" as const, value: "2" },
    ],
  };
  const group = new RouteGroup([route("r", [{ ...rule("x", []), matches: [twice] }])]);
  assert.deepEqual(group.headerNames, ["a"]);
  assert.equal(ask(group, "GET /", { a: "1" }), "r/x");
  assert.equal(ask(group, "GET /", { a: "2" }), "ROUTE_NOT_FOUND");
});

test("a rule without matches takes everything", () => {
  assert.equal(ask(new RouteGroup([route("r", [rule("x", [])])]), "GET /any"), "r/x");
});

test("host names rank first: exact, longest wildcard, none; wildcards never match the apex", () => {
  const group = new RouteGroup([
    route("any", [rule("x", [{ path: "/deep/path" }])]),
    route("wide", [rule("x", [{}])], { hostnames: ["*.example.com"] }),
    route("narrow", [rule("x", [{ path: "/n" }])], { hostnames: ["*.a.example.com"] }),
    route("exact", [rule("x", [{}])], { hostnames: ["B.a.Example.com"] }),
  ]);
  assert.equal(ask(group, "GET /deep/path", {}, "b.a.example.com"), "exact/x");
  assert.equal(ask(group, "GET /n", {}, "c.a.example.com"), "narrow/x");
  assert.equal(ask(group, "GET /", {}, "c.a.example.com"), "wide/x");
  assert.equal(ask(group, "GET /", {}, "evilexample.com"), "ROUTE_NOT_FOUND");
  assert.equal(ask(group, "GET /", {}, "example.com"), "ROUTE_NOT_FOUND");
  assert.equal(ask(group, "GET /deep/path", {}, "other"), "any/x");
});

test("what is not understood is answered for, not skipped", () => {
  const group = new RouteGroup([
    route("r", [rule("known", [{ path: "/a" }]), rule("odd", [{ path: "/b" }], { notUnderstood: "filters[0]" })]),
  ]);
  assert.equal(ask(group, "GET /a"), "r/known");
  assert.equal(ask(group, "GET /b"), "ROUTE_NOT_UNDERSTOOD");
  const whole = new RouteGroup([route("r", [rule("x", [{}])]), route("bad", [], { notUnderstood: "spec.hostnames" })]);
  assert.equal(ask(whole, "GET /"), "ROUTE_NOT_UNDERSTOOD");
});

test("ten thousand routes compile and answer", () => {
  const routes = Array.from({ length: 10_000 }, (_, i) =>
    route(`r${i}`, [rule("x", [{ path: `/api/v1/part${i % 100}/item` }])], {
      hostnames: [`host${Math.floor(i / 100)}.test`],
    }),
  );
  const group = new RouteGroup(routes);
  assert.equal(ask(group, "GET /api/v1/part42/item/7", {}, "host77.test"), "r7742/x");
  assert.equal(ask(group, "GET /api/v1/part100/item/7", {}, "host77.test"), "ROUTE_NOT_FOUND");
});
