import assert from "node:assert/strict";
import { test } from "node:test";
import type { StreamRoute } from "@culvert/shared/config/stream-route.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { routeBackend, streamRoute } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { chooseBackend } from "./backend.ts";
import { serviceRoutes } from "./service-routes.ts";
import { STREAM_ROUTES } from "./stream-routes.ts";

const PORT = { namespace: "default" };

function tls(name: string, hostnames: readonly string[], more: Partial<StreamRoute> = {}): StreamRoute {
  return streamRoute(name, [], { kind: "TLSRoute", hostnames, ...more });
}

function found(routes: readonly StreamRoute[], serverName?: string, caller = "default"): string {
  const group = serviceRoutes(PORT, routes, STREAM_ROUTES).forCaller(caller);
  if (group === undefined) return "none";
  const routed = group.find(serverName);
  return isFailure(routed) ? routed.code : routed.route.name;
}

test("a server name finds the exact name, then the longest wildcard, then the route without names", () => {
  const routes = [
    tls("any", []),
    tls("wide", ["*.example.com"]),
    tls("narrow", ["*.eu.example.com"]),
    tls("exact", ["A.eu.Example.com"]),
  ];
  const cases: readonly (readonly [string | undefined, string])[] = [
    ["a.eu.example.com", "exact"],
    ["b.eu.example.com", "narrow"],
    ["x.y.eu.example.com", "narrow"],
    ["eu.example.com", "wide"],
    ["example.com", "any"],
    ["notexample.com", "any"],
    [undefined, "any"],
  ];
  for (const [name, expected] of cases) assert.equal(found(routes, name), expected, String(name));
  assert.equal(found(routes.slice(1), "example.com"), "ROUTE_NOT_FOUND");
  assert.equal(found(routes.slice(1)), "ROUTE_NOT_FOUND");
});

test("of equal names the oldest route serves, then the first by name", () => {
  const young = tls("a", ["x.example"], { createdAt: 2 });
  const old = tls("b", ["x.example"], { createdAt: 1 });
  assert.equal(found([young, old], "x.example"), "b");
  assert.equal(found([tls("d", ["x.example"]), tls("c", ["x.example"])], "x.example"), "c");
  const tcp = [streamRoute("z", [], { createdAt: 1 }), streamRoute("a", [], { createdAt: 2 })];
  assert.equal(found(tcp), "z");
});

test("consumer routes go before the producer's, TLSRoutes before TCPRoutes of the same namespace", () => {
  const tcp = streamRoute("tcp", []);
  const mine = streamRoute("shop/mine", []);
  assert.equal(found([tcp, mine], undefined, "shop"), "mine");
  assert.equal(found([tcp, mine], undefined, "other"), "tcp");
  assert.equal(found([mine], undefined, "default"), "none");
  assert.equal(found([mine, tls("tls", ["x.example"])], "x.example", "shop"), "mine");
  assert.equal(found([mine, tls("shop/tls", ["x.example"])], "x.example", "shop"), "tls");
  const group = serviceRoutes(PORT, [tcp], STREAM_ROUTES).forCaller(undefined);
  assert.equal(group?.needsServerName, false);
  assert.equal(serviceRoutes(PORT, [tcp, tls("tls", [])], STREAM_ROUTES).forCaller(undefined)?.needsServerName, true);
});

test("a route that is not understood, or has no rule, refuses", () => {
  const odd = [tls("odd", [], { notUnderstood: "spec.rules" }), tls("x", ["x.example"])];
  assert.equal(found(odd, "x.example"), "x", "the others are served");
  assert.equal(found(odd, "y.example"), "ROUTE_NOT_UNDERSTOOD");
  assert.equal(found([tls("empty", [], { rules: [] })]), "BACKEND_INVALID");
});

test("backends share connections by weight; an invalid one keeps its share, and 0 has none", () => {
  const backends = [
    routeBackend("a", 1, { weight: 3 }),
    routeBackend("gone", 1, { weight: 1, invalid: "no such Service" }),
    routeBackend("none", 1, { weight: 0 }),
  ];
  const group = must(serviceRoutes(PORT, [streamRoute("r", backends)], STREAM_ROUTES).forCaller("default"));
  const routed = must(group.find(undefined));
  assert.equal(routed.name, "rules[0]");
  const names = [0, 0.25, 0.5, 0.74, 0.75, 0.99].map((random) => {
    const backend = chooseBackend(routed, random);
    return isFailure(backend) ? backend.code : backend.name;
  });
  assert.deepEqual(names, ["a", "a", "a", "a", "BACKEND_INVALID", "BACKEND_INVALID"]);
});
