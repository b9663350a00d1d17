import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { HttpRouteBackend } from "@culvert/shared/config/http-route.ts";
import { id, route, routeBackend, routeMatch, routeParent, routeRule } from "@culvert/test/support/fixtures.ts";
import { explainRequest, type RequestQuestion } from "./explain.ts";
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
  const steps = explainRequest(VIEW, question);
  if (isFailure(steps)) return [`unreadable: ${steps.detail}`];
  return [...steps];
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
