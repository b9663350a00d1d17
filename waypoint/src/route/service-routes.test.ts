import assert from "node:assert/strict";
import { test } from "node:test";
import type { HttpRoute, RouteParent } from "@culvert/shared/config/http-route.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { route as routeOf, routeBackend, routeParent, routeRule } from "@culvert/test/support/fixtures.ts";
import { chooseBackend } from "./backend.ts";
import { HTTP_ROUTES } from "./route-group.ts";
import { RouteIndex, serviceRoutes } from "./service-routes.ts";

const REVIEWS = { kind: "service", namespace: "default", name: "reviews", port: 9080, portName: "http" } as const;

function route(uid: string, ...parents: RouteParent[]): HttpRoute {
  return routeOf(uid, { parents, rules: [routeRule()] });
}

function attached(routes: HttpRoute[], caller: string | undefined): string {
  const group = serviceRoutes(REVIEWS, new RouteIndex(routes, HTTP_ROUTES).attachedTo(REVIEWS), HTTP_ROUTES).forCaller(
    caller,
  );
  if (group === undefined) return "none";
  const found = group.find({ method: "GET", hostname: "reviews", path: "/", query: "", headers: [] });
  return isFailure(found) ? found.code : found.route.uid;
}

function to(port: number | undefined, name = "reviews"): RouteParent {
  return routeParent(name, { port });
}

test("a parent reference names the port of the service, or all of them", () => {
  assert.equal(attached([route("default/all", to(undefined))], "default"), "default/all");
  assert.equal(attached([route("default/one", to(9080))], "default"), "default/one");
  assert.equal(attached([route("default/other", to(8080))], "default"), "none");
  assert.equal(attached([route("default/other", to(9080, "ratings"))], "default"), "none");
  assert.equal(attached([route("default/both", to(8080), to(9080, "ratings"), to(9080))], "default"), "default/both");
});

test("a consumer's routes take the place of the producer's, for that consumer alone", () => {
  const parent = routeParent("reviews");
  const routes = [route("default/producer", parent), route("shop/consumer", parent)];
  assert.equal(attached(routes, "shop"), "shop/consumer");
  assert.equal(attached(routes, "default"), "default/producer");
  assert.equal(attached(routes, "other"), "default/producer");
  assert.equal(attached(routes, undefined), "default/producer");
  assert.equal(attached(routes.slice(1), "other"), "none");
});

function split(...weights: (number | string)[]): (random: number) => string {
  const backends = weights.map((weight, i) =>
    routeBackend(`b${i}`, 80, {
      weight: Number(String(weight).replace("!", "")),
      invalid: typeof weight === "string" ? "no such service" : undefined,
    }),
  );
  const rule = routeRule({ backends });
  return (random) => {
    const chosen = chooseBackend({ route: route("default/r"), rule, name: "rules[0]" }, random);
    return isFailure(chosen) ? chosen.code : chosen.name;
  };
}

test("backends share the requests by weight", () => {
  const pick = split(90, 10);
  const counts = new Map<string, number>();
  for (let i = 0; i < 1_000; i++) counts.set(pick(i / 1_000), (counts.get(pick(i / 1_000)) ?? 0) + 1);
  assert.deepEqual(Object.fromEntries(counts), { b0: 900, b1: 100 });
});

test("a weight of zero gets nothing; none left, or none named, is an error", () => {
  const pick = split(0, 1, 0);
  for (const random of [0, 0.5, 1 - Number.EPSILON]) assert.equal(pick(random), "b1");
  assert.equal(split(0)(0), "BACKEND_INVALID");
  assert.equal(split()(0), "BACKEND_INVALID");
});

test("an invalid backend keeps its share, which fails", () => {
  const pick = split(1, "1!");
  assert.equal(pick(0.2), "b0");
  assert.equal(pick(0.7), "BACKEND_INVALID");
});
