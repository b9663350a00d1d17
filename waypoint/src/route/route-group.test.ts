import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { ask, match, route, rule } from "./route-fixtures.ts";
import { RouteGroup } from "./route-group.ts";

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
  assert.equal(ask(whole, "GET /"), "r/x", "the others are served");
  const some = new RouteGroup([
    route("r", [rule("x", [{ path: "/a" }])]),
    route("bad", [], { notUnderstood: "spec.hostnames" }),
  ]);
  assert.equal(ask(some, "GET /a"), "r/x");
  assert.equal(ask(some, "GET /b"), "ROUTE_NOT_UNDERSTOOD");
});

test("the number of headers outranks that of parameters, both outrank age", () => {
  const group = new RouteGroup([
    route("old", [rule("plain", [{}]), rule("query", [{ query: { a: "1", b: "2" } }])], { createdAt: 1 }),
    route("new", [rule("header", [{ headers: { x: "1" } }]), rule("one", [{ query: { a: "1" } }])], { createdAt: 2 }),
  ]);
  assert.equal(ask(group, "GET /?a=1&b=2", { x: "1" }), "new/header");
  assert.equal(ask(group, "GET /?a=1&b=2"), "old/query");
  assert.equal(ask(group, "GET /?a=1"), "new/one");
  assert.equal(ask(group, "GET /?a=2"), "old/plain");
});

test("parameters are decoded, the first of two counts, names and values are compared as they are", () => {
  const group = new RouteGroup([
    route("r", [
      rule("plain", [{ query: { animal: "whale" } }]),
      rule("escaped", [{ query: { "a b": "c&d=\u00fc" } }]),
      rule("empty", [{ query: { flag: "" } }]),
      rule("regex", [{ query: { n: "~[0-9]+" } }]),
    ]),
  ]);
  for (const query of [
    "animal=whale",
    "x=1&animal=whale",
    "&&animal=whale&",
    "animal=whale&animal=dog",
    "%61nimal=wh%61le",
  ]) {
    assert.equal(ask(group, `GET /?${query}`), "r/plain", query);
  }
  for (const query of [
    "animal=dog&animal=whale",
    "Animal=whale",
    "animal=Whale",
    "animal=whaledolphin",
    "",
    "animal",
  ]) {
    assert.equal(ask(group, `GET /?${query}`), "ROUTE_NOT_FOUND", query);
  }
  assert.equal(ask(group, "GET /?a+b=c%26d%3D%c3%bc"), "r/escaped");
  assert.equal(ask(group, "GET /?a%20b=c%26d%3D%C3%BC"), "r/escaped");
  assert.equal(ask(group, "GET /?flag"), "r/empty");
  assert.equal(ask(group, "GET /?flag="), "r/empty");
  assert.equal(ask(group, "GET /?n=77"), "r/regex");
  assert.equal(ask(group, "GET /?n=%37%37"), "r/regex");
  for (const value of ["7x", "", "%ff", "%"]) assert.equal(ask(group, `GET /?n=${value}`), "ROUTE_NOT_FOUND", value);
});

function latin1(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

test("regular expressions of headers match the whole value, as text", () => {
  const group = new RouteGroup([
    route("r", [
      rule("x", [{ headers: { color: "~bl.e|gr[ae]y" } }]),
      rule("y", [{ headers: { name: "~.\u00fc." } }]),
      rule("z", [{ headers: { name: "b\u00fccher" } }]),
    ]),
  ]);
  for (const color of ["blue", "grey", "gray"]) assert.equal(ask(group, "GET /", { color }), "r/x", color);
  for (const color of ["blues", "a blue", "Blue", ""])
    assert.equal(ask(group, "GET /", { color }), "ROUTE_NOT_FOUND", color);
  assert.equal(ask(group, "GET /", { name: latin1("x\u00fcx") }), "r/y");
  assert.equal(ask(group, "GET /", { name: latin1("b\u00fccher") }), "r/z");
  assert.equal(ask(group, "GET /", { name: "x\u00fcx" }), "ROUTE_NOT_FOUND", "its bytes are no UTF-8");
});

test("an expression that is none, or one too many, makes its route not understood", () => {
  for (const pattern of ["(", "(?=a)", "\\1", "a{1001}"]) {
    const bad = new RouteGroup([
      route("bad", [rule("x", [{ path: `~${pattern}` }])]),
      route("r", [rule("x", [{ path: "/a" }])]),
    ]);
    assert.equal(ask(bad, "GET /"), "ROUTE_NOT_UNDERSTOOD", pattern);
    assert.equal(ask(bad, "GET /a"), "r/x", pattern);
  }
  const patterns = Array.from({ length: 513 }, (_, i) => rule(`x${i}`, [{ headers: { a: `~${i}.` } }]));
  assert.equal(ask(new RouteGroup([route("r", patterns.slice(1))]), "GET /", { a: "512!" }), "r/x512");
  assert.equal(ask(new RouteGroup([route("r", patterns)]), "GET /"), "ROUTE_NOT_UNDERSTOOD");
});

test("a value that is too long for an expression is refused where the expression would decide", () => {
  const group = new RouteGroup([
    route("r", [
      rule("exact", [{ path: "=/a" }]),
      rule("regex", [{ path: "/a", headers: { x: "~(ab?){100}c" } }]),
      rule("else", [{ path: "/" }]),
    ]),
  ]);
  const x = "ab".repeat(2_000);
  assert.equal(ask(group, "GET /a", { x }), "r/exact");
  assert.equal(ask(group, "GET /a/b", { x }), "REQUEST_TOO_LARGE");
  assert.equal(ask(group, "GET /b", { x }), "r/else");
  assert.equal(ask(group, "GET /a/b", { x: "ab" }), "r/else");
});

test("two expressions of one length take turns by what else their matches ask for", () => {
  const group = new RouteGroup([
    route("r", [
      rule("first", [{ path: "~/a/[bc]", method: "GET", headers: { x: "1" } }]),
      rule("third", [{ path: "~/a/[bc]" }]),
      rule("second", [{ path: "~/a/[cd]", method: "GET" }]),
    ]),
  ]);
  assert.equal(ask(group, "GET /a/c", { x: "1" }), "r/first");
  assert.equal(ask(group, "GET /a/c"), "r/second");
  assert.equal(ask(group, "POST /a/c"), "r/third");
});

test("a GRPCRoute of methods: the service outranks the method alone, no match is for UNIMPLEMENTED", () => {
  const group = new RouteGroup([
    route(
      "g",
      [
        rule("both", [{ path: "=/pkg.Echo/Say" }]),
        rule("service", [{ path: "/pkg.Echo" }]),
        rule("method", [{ path: "~/[^/]+/Say" }]),
        rule("header", [{ headers: { version: "2" } }]),
      ],
      { kind: "GRPCRoute" },
    ),
  ]);
  assert.equal(ask(group, "POST /pkg.Echo/Say"), "g/both");
  assert.equal(ask(group, "POST /pkg.Echo/Other"), "g/service");
  assert.equal(ask(group, "POST /pkg.EchoTwo/Say"), "g/method");
  assert.equal(ask(group, "POST /pkg.EchoTwo/Other", { version: "2" }), "g/header");
  const none = group.find({ method: "POST", path: "/x.Y/Z", hostname: "reviews", query: "", headers: [] });
  assert.ok(isFailure(none) && none.traits.grpcStatus === 12);
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
