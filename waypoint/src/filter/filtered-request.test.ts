import assert from "node:assert/strict";
import { test } from "node:test";
import type {
  HeaderEdit,
  HttpRouteBackend,
  HttpRouteFilter,
  HttpRouteRule,
} from "@culvert/shared/config/http-route.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { must } from "@culvert/test/support/must.ts";
import { route, routeBackend, routeMatch, routeRule } from "@culvert/test/support/fixtures.ts";
import type { LocalAnswer } from "../local-answer.ts";
import { FilteredRequest, type FilterFacts } from "./filtered-request.ts";
import { filterFields, rulePlan, type RulePlan } from "./rule-plan.ts";

const FACTS: FilterFacts = {
  method: "GET",
  hostname: "shop",
  port: 80,
  path: "/p/x",
  query: "?q=1",
  isGrpc: false,
  origin: undefined,
  requestMethod: undefined,
  requestHeaders: undefined,
};
const never = (): number => 0.999;
const MATCH = routeMatch({ path: { kind: "prefix", value: "/p" } });

function plan(parts: Partial<HttpRouteRule>): RulePlan {
  const made = rulePlan({
    route: route("r"),
    rule: routeRule({ matches: [MATCH], ...parts }),
    match: MATCH,
    name: "a",
  });
  return must(made);
}

function adds(kind: "request-headers" | "response-headers", name: string, value: string): HttpRouteFilter {
  const edit: HeaderEdit = { set: [], add: [{ name, value }], remove: [] };
  return { kind, edit };
}

function bothAdd(value: string): HttpRouteFilter[] {
  return [adds("request-headers", "x-by", value), adds("response-headers", "x-by", value)];
}

function rewrite(value: string): HttpRouteFilter {
  return { kind: "rewrite", host: "one.example.org", path: { kind: "prefix", value } };
}

function mirror(numerator: number, denominator: number): HttpRouteFilter {
  return { kind: "mirror", backend: routeBackend(`m${numerator}`, 80), numerator, denominator };
}

function direct(status: number, body: string): LocalAnswer {
  return must(plan({ filters: [{ kind: "answer", answer: { status, headers: [], body } }] }).steps.answer);
}

/** What becomes of a request that is served by the first backend of a rule. */
function served(
  of: RulePlan,
  backend?: HttpRouteBackend,
  facts: Partial<FilterFacts> = {},
): { draft: { method: string; path: string; authority: string; fields: string }; answered: string } {
  const request = new FilteredRequest(of, { ...FACTS, ...facts });
  assert.equal(request.enter(of.steps, never), undefined);
  if (backend !== undefined) assert.equal(request.enter(of.stepsOf(backend), never), undefined);
  const draft = { method: "GET", path: "/p/x?q=1", authority: "shop", fields: "a: 1\r\n" };
  request.request(draft);
  return { draft, answered: request.response("b: 2\r\n") };
}

test("a rule that only leads somewhere has no plan", () => {
  const rule = routeRule({ backends: [routeBackend("v1", 80)] });
  assert.equal(rulePlan({ route: route("r"), rule, match: MATCH, name: "" }), undefined);
  assert.deepEqual(filterFields(rule), []);
});

test("the rule's filters act before the backend's on requests, and after them on responses", () => {
  const backend = routeBackend("v1", 80, { filters: bothAdd("backend") });
  const got = served(plan({ filters: bothAdd("rule"), backends: [backend] }), backend);
  assert.equal(got.draft.fields, "a: 1\r\nx-by: rule\r\nx-by: backend\r\n");
  assert.equal(got.answered, "b: 2\r\nx-by: backend\r\nx-by: rule\r\n");
});

test("host and path are rewritten, the query stays; a backend's path takes the place of the rule's", () => {
  const backend = routeBackend("v1", 80, { filters: [rewrite("/b")] });
  const of = plan({ filters: [rewrite("/r")], backends: [backend] });
  assert.equal(served(of).draft.path, "/r/x?q=1");
  assert.equal(served(of).draft.authority, "one.example.org");
  assert.equal(served(of, backend).draft.path, "/b/x?q=1");
});

test("a redirect answers with the whole Location", () => {
  const of = plan({
    filters: [
      {
        kind: "redirect",
        scheme: undefined,
        host: undefined,
        port: undefined,
        path: { kind: "prefix", value: "/n" },
        status: 308,
      },
      adds("response-headers", "x-by", "rule"),
    ],
  });
  const request = new FilteredRequest(of, { ...FACTS, port: 8080 });
  const answer = must(request.enter(of.steps, never));
  assert.equal(answer.status, 308);
  assert.equal(request.response(answer.fields), "location: http://shop:8080/n/x?q=1\r\nx-by: rule\r\n");
});

test("a direct answer has a type, and none of its own where there is no body", () => {
  assert.equal(direct(200, "grüß").fields, "content-type: text/plain; charset=utf-8\r\n");
  assert.equal(direct(200, "ü").body, "\xc3\xbc");
  assert.deepEqual([direct(204, "x").fields, direct(204, "x").body], ["", ""]);
});

test("preflights are answered before anything else; aborts carry what lets a script read them", () => {
  const cors: HttpRouteFilter = {
    kind: "cors",
    allowOrigins: ["https://a.example"],
    allowMethods: ["GET"],
    allowHeaders: [],
    exposeHeaders: [],
    allowCredentials: false,
    maxAgeSeconds: 5,
  };
  const fault: HttpRouteFilter = {
    kind: "fault",
    fault: { delay: { ms: 7, percent: 100 }, abort: { status: 500, grpcStatus: undefined, percent: 100 } },
  };
  const of = plan({ filters: [fault, cors] });
  const origin = "https://a.example";
  const preflight = new FilteredRequest(of, { ...FACTS, method: "OPTIONS", origin, requestMethod: "GET" });
  const allowed = must(preflight.enter(of.steps, never));
  assert.equal(allowed.status, 200);
  assert.equal(preflight.response(allowed.fields), allowed.fields);
  const actual = new FilteredRequest(of, { ...FACTS, origin });
  const aborted = must(actual.enter(of.steps, never));
  assert.equal(aborted.status, 500);
  assert.equal(actual.delayMs, 7);
  assert.match(actual.response(aborted.fields), /access-control-allow-origin: https:\/\/a\.example\r\n/);
});

test("mirrors take their share", () => {
  const of = plan({ filters: [mirror(1, 2), mirror(35, 100), mirror(100, 100), mirror(0, 100)] });
  const drawn = (random: number): string[] => {
    const request = new FilteredRequest(of, FACTS);
    request.enter(of.steps, never);
    return request.mirrors(() => random).map(({ backend }) => backend.name);
  };
  assert.deepEqual(drawn(0), ["m1", "m35", "m100"]);
  assert.deepEqual(drawn(0.4), ["m1", "m100"]);
  assert.deepEqual(drawn(0.999), ["m100"]);
});

test("a filter that must not be served makes its rule fail, not others", () => {
  const bad: HttpRouteFilter[] = [
    adds("request-headers", "content-length", "1"),
    adds("response-headers", "a", "1\r\nb: 2"),
    { kind: "rewrite", host: "a b", path: undefined },
    { kind: "rewrite", host: undefined, path: { kind: "full", value: "x" } },
    { kind: "answer", answer: { status: 42, headers: [], body: "" } },
  ];
  for (const filter of bad) {
    for (const rule of [{ filters: [filter] }, { backends: [routeBackend("v1", 80, { filters: [filter] })] }]) {
      const made = rulePlan({ route: route("r"), rule: routeRule(rule), match: MATCH, name: "a" });
      assert.ok(isFailure(made), JSON.stringify(filter));
      assert.equal(made.code, "ROUTE_NOT_UNDERSTOOD");
    }
  }
});

test("only fields that some filter looks at are read", () => {
  const persistence = {
    type: "header",
    name: "X-Session",
    absoluteTimeoutMs: 0,
    idleTimeoutMs: 0,
    permanent: false,
  } as const;
  assert.deepEqual(filterFields(routeRule({ persistence })), ["x-session"]);
  assert.deepEqual(filterFields(routeRule({ persistence: { ...persistence, type: "cookie" } })), ["cookie"]);
});
