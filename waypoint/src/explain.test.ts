import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { HttpRoute, HttpRouteBackend } from "@culvert/shared/config/http-route.ts";
import type { Explanation } from "@culvert/shared/service/explain-command.ts";
import { id, route, routeBackend, routeMatch, routeParent, routeRule } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { explainRequest } from "./explain.ts";
import type { RequestQuestion } from "./explain/question.ts";
import { policy, SELF, service, servicePort, snapshot, workload } from "./mesh-fixtures.ts";
import { MeshView } from "./mesh/view.ts";

const backend = (name: string, weight: number): HttpRouteBackend => routeBackend(name, 9080, { weight });
const ROUTE = route("split", {
  parents: [routeParent("reviews", { port: 9080 })],
  rules: [
    routeRule({
      name: "beta",
      matches: [
        routeMatch({
          path: { kind: "prefix", value: "/v2" },
          method: "GET",
          headers: [{ name: "x-beta", kind: "exact", value: "yes" }],
        }),
      ],
      backends: [backend("v1", 90), backend("v2", 10), backend("gone", 0)],
    }),
  ],
});

const VIEW = new MeshView(
  snapshot({
    services: [
      service("default/reviews"),
      service("default/ratings"),
      service("default/v1"),
      service("default/v2"),
      service("default/db", { ports: [servicePort({ port: 7000, appProtocol: "tcp" })] }),
    ],
    workloads: [
      workload("default/ratings-1", "10.0.0.1"),
      workload("default/v1-1", "10.0.0.2"),
      workload("default/db-1", "10.0.0.3", { protocol: "none" }),
    ],
    routes: [ROUTE],
    policies: [
      policy("curl-only", {
        rules: [{ from: [{ principals: [{ kind: "exact", value: "cluster.local/ns/default/sa/curl" }] }], to: [] }],
      }),
    ],
  }),
  SELF,
);

function explained(request: string, more: Partial<RequestQuestion> = {}): string[] {
  const question = { request, from: id("default/curl") as string, sourceIp: undefined, headers: [], ...more };
  const answer = explainRequest(VIEW, question);
  return isFailure(answer) ? [`unreadable: ${answer.detail}`] : [...answer.steps];
}

function stepsOf(view: MeshView, request: string, headers: readonly string[] = []): readonly string[] {
  return explanation(view, request, headers).steps;
}

function explanation(view: MeshView, request: string, headers: readonly string[] = []): Explanation {
  return must(explainRequest(view, { request, from: undefined, sourceIp: undefined, headers }));
}

function last(steps: readonly string[]): string {
  return steps.at(-1) ?? "";
}

test("a routed request: policy, rule, share and endpoint of each backend", () => {
  const steps = explained("GET http://reviews:9080/x/../v2/a?b", { headers: ["X-Beta: yes"] });
  for (const part of [
    /asked by spiffe:\/\/cluster.local\/ns\/default\/sa\/curl/,
    /service default\/reviews port 9080, declared http, behind waypoint default\/waypoint/,
    /decided and forwarded as GET \/v2\/a\?b, host reviews:9080/,
    /ALLOW policy default\/curl-only/,
    /allowed by default\/curl-only rules\[0\]/,
    /route default\/split, beta, matched by prefix path \/v2, method GET, header x-beta: yes/,
    /endpoint default\/v1-1 at 10.0.0.2:9080, tunnel, expecting spiffe:\/\/cluster.local\/ns\/default\/sa\/v1/,
    /^=> 90 % forwarded to default\/v1:9080, its one endpoint; 10 % 503, NO_HEALTHY_UPSTREAM/,
  ]) {
    assert.ok(
      steps.some((step) => part.test(step)),
      `${part} in\n${steps.join("\n")}`,
    );
  }
});

test("the outcome of what is refused names status, code and reason", () => {
  assert.match(last(explained("GET http://reviews:9080/v2")), /^=> 404, ROUTE_NOT_FOUND/);
  assert.match(last(explained("GET http://reviews:9080/", { from: id("default/other") })), /^=> 403, DENIED_BY_POLICY/);
  assert.match(last(explained("GET http://nowhere:80/")), /^=> 404, DESTINATION_UNKNOWN/);
  assert.match(last(explained("GET http://ratings:9080/%00")), /^=> 400, REQUEST_MALFORMED/);
  assert.match(last(explained("GET http://reviews:9080/", { from: undefined })), /^=> 403, DENIED_BY_POLICY/);
});

test("without a route, and as TCP, the destination's own endpoints are named", () => {
  const steps = explained("GET http://ratings:9080", { from: undefined });
  assert.ok(steps.some((step) => /no route is attached/.test(step)));
  assert.ok(steps.some((step) => /no policy names/.test(step)));
  assert.match(steps.at(-1) ?? "", /^=> forwarded to default\/ratings:9080/);
  const tcp = explained("GET http://db:7000/");
  assert.ok(tcp.some((step) => /plain TCP \(not in the mesh\)/.test(step)));
  assert.match(tcp.at(-1) ?? "", /^=> passed through as TCP to default\/db:7000/);
});

test("a question that cannot be read says what was expected", () => {
  assert.match(explained("http://reviews/")[0] ?? "", /expected 'GET http:\/\/host:port\/path'/);
  assert.match(explained("GET https://reviews/")[0] ?? "", /expected 'GET http/);
  assert.match(explained("GET http://reviews/", { headers: ["nonsense"] })[0] ?? "", /expected 'name: value'/);
  assert.match(explained("GET http://reviews/", { from: "spiffe:///x" })[0] ?? "", /unreadable/);
  assert.match(explained("GET http://reviews/", { sourceIp: "1.2" })[0] ?? "", /not an IP address/);
});

function viewOf(...routes: readonly HttpRoute[]): MeshView {
  const services = [service("default/reviews"), service("default/v1"), service("default/v2")];
  return new MeshView(snapshot({ services, workloads: [workload("default/v1-1", "10.0.0.2")], routes }), SELF);
}

const parents = [routeParent("reviews")];
const toV1 = [backend("v1", 1)];

test("every other match is named with what did not hold, or with its place", () => {
  const matches = [
    routeMatch({ path: { kind: "exact", value: "/x" } }),
    routeMatch({ path: { kind: "prefix", value: "/api" }, method: "POST" }),
    routeMatch({ headers: [{ name: "version", kind: "exact", value: "two" }] }),
    routeMatch({ headers: [{ name: "version", kind: "regex", value: "v[0-9]+" }], method: "GET" }),
    routeMatch({ query: [{ name: "animal", kind: "exact", value: "whale" }] }),
    routeMatch(),
  ];
  const rules = matches.map((match, i) => routeRule({ name: `rule-${i}`, matches: [match], backends: toV1 }));
  const view = viewOf(
    route("r", { parents, rules }),
    route("s", { parents, hostnames: ["*.example.com"], rules: [routeRule({ backends: toV1 })] }),
  );
  const { steps, facts = {} } = explanation(view, "GET http://reviews:9080/api?animal=whale&animal=dog", [
    "Version: one",
  ]);
  const noted = steps.filter((step) => step.startsWith("not ") || step.startsWith("route "));
  assert.deepEqual(noted, [
    "not default/s, rules[0] (host *.example.com, prefix path /): host reviews is not *.example.com",
    "not default/r, rule-0 (exact path /x): path /api is not /x",
    'not default/r, rule-1 (prefix path /api, method POST): method is "GET", expected "POST"',
    'not default/r, rule-3 (prefix path /, method GET, header version matching v[0-9]+): header version is "one", which "v[0-9]+" does not match',
    'not default/r, rule-2 (prefix path /, header version: two): header version is "one", expected "two"',
    "not default/r, rule-5 (prefix path /): holds, and comes later in the order",
    "route default/r, rule-4, matched by prefix path /, query animal: whale",
  ]);
  const { shown, more } = facts["candidates"] as { shown: { taken: boolean; rule: string }[]; more: number };
  assert.deepEqual([shown.length, more, shown.find(({ taken }) => taken)?.rule], [7, 0, "rule-4"]);
});

test("of thousands of matches those are named that were about to fit", () => {
  const rules = Array.from({ length: 300 }, (_, i) =>
    routeRule({
      matches: [routeMatch({ path: { kind: "exact", value: `/${i % 60}` }, method: i < 60 ? "POST" : "PUT" })],
    }),
  );
  const steps = stepsOf(viewOf(route("r", { parents, rules })), "GET http://reviews:9080/7");
  assert.equal(steps.filter((step) => step.startsWith("not default/r")).length, 5);
  assert.ok(steps.includes("not 295 other matches"));
  assert.match(steps.at(-1) ?? "", /^=> 404, ROUTE_NOT_FOUND/);
});

test("what the filters of a rule do, and what the backend then sees", () => {
  const filters = [
    { kind: "rewrite", host: "v1.example.com", path: { kind: "prefix", value: "/two" } },
    { kind: "request-headers", edit: { set: [{ name: "x-a", value: "1" }], add: [], remove: ["x-b"] } },
  ] as const;
  const path = { kind: "prefix", value: "/one" } as const;
  const steps = stepsOf(
    viewOf(
      route("r", {
        parents,
        rules: [
          routeRule({
            matches: [routeMatch({ path })],
            filters,
            backends: toV1,
            timeouts: { requestMs: 500, backendRequestMs: 100 },
            retry: { codes: [503], attempts: 2, backoffMs: 10 },
          }),
        ],
      }),
    ),
    "GET http://reviews:9080/one/x?y",
  );
  for (const step of [
    "  rewrites to host v1.example.com, prefix path /two",
    "  request headers: set x-a: 1, remove x-b",
    "  ends after 500 ms",
    "  gives each attempt 100 ms",
    "  sends again up to 2 times after a broken connection or an answer of 503",
    "  sent on as GET /two/x?y host v1.example.com",
  ]) {
    assert.ok(steps.includes(step), `${step} in\n${steps.join("\n")}`);
  }
});

test("an answer of the route itself is the outcome", () => {
  const redirect = {
    kind: "redirect",
    scheme: "https",
    host: "example.com",
    port: undefined,
    path: undefined,
  } as const;
  const view = viewOf(route("r", { parents, rules: [routeRule({ filters: [{ ...redirect, status: 301 }] })] }));
  assert.match(
    stepsOf(view, "GET http://reviews:9080/a?b").at(-1) ?? "",
    /^=> 301, answered by the route: location https:\/\/example.com\/a\?b$/,
  );
});

test("a caller of gRPC is told in its words, a program by name", () => {
  const view = viewOf(route("g", { kind: "GRPCRoute", parents, rules: [] }));
  const asked = explanation(view, "POST http://reviews:9080/pkg.Echo/Say", ["content-type: application/grpc"]);
  assert.match(asked.steps.at(-1) ?? "", /^=> gRPC status 12, ROUTE_NOT_FOUND/);
  const { outcome, request } = asked.facts as { outcome: { code: string; status: number }; request: object };
  assert.deepEqual([outcome.code, outcome.status], ["ROUTE_NOT_FOUND", 404]);
  assert.deepEqual(request, { method: "POST", host: "reviews:9080", path: "/pkg.Echo/Say", query: "" });
});
