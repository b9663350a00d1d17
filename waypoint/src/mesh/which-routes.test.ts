// The rules of GEP-1294, from the address that a client used to the rule that serves its request.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HttpRoute, RouteParent } from "@culvert/shared/config/http-route.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import { id, ip, route, routeBackend, routeParent, routeRule, serviceEntry } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { SELF, service, servicePort, snapshot, workload } from "../mesh-fixtures.ts";
import { MeshView } from "./view.ts";

const V1 = "240.240.0.1";
const V2 = "240.240.0.2";
const PORTS = [
  servicePort({ name: "http", port: 80, targetPort: 8080 }),
  servicePort({ name: "http-alt", port: 8080, targetPort: 8080 }),
];

/** A route for all requests that leads to `default/to`. */
function to(name: string, parents: readonly RouteParent[], more: Partial<HttpRoute> = {}): HttpRoute {
  return route(name, { parents, rules: [routeRule({ backends: [routeBackend("to", 80)] })], ...more });
}

function viewOf(...routes: readonly HttpRoute[]): MeshView {
  const services = [
    service("default/echo-v1", { ports: PORTS, vips: [ip(V1)] }),
    service("default/echo-v2", { ports: PORTS, vips: [ip(V2)] }),
    serviceEntry(
      "default/partner",
      "api.example.com",
      {},
      { ports: [servicePort({ port: 80 })], waypoint: SELF.gateway, vips: [ip("240.240.0.9")] },
    ),
  ];
  const workloads = [workload("default/echo-v2-1", "10.0.0.2", { waypoint: SELF.gateway })];
  return new MeshView(snapshot({ services, workloads, routes }), SELF);
}

interface Asked {
  readonly host?: string;
  readonly from?: string;
}

/** The route that serves `GET /`, `none` when no route applies, or the code of the failure. */
function serving(view: MeshView, address: string, { host = "echo", from = "default" }: Asked = {}): string {
  const authority = must(parseAuthority(address));
  const destination = must(view.destination(authority, { id: id(`${from}/curl`), namespace: from }));
  const group = view.routes(destination, from);
  if (group === undefined) return "none";
  const headers = group.headerNames.map(() => undefined);
  const found = group.find({ method: "GET", hostname: host, path: "/", query: "", headers });
  return isFailure(found) ? found.code : found.route.uid;
}

test("the address that the client used chooses the service, whatever its Host says", () => {
  const view = viewOf(to("for-v2", [routeParent("echo-v2")]));
  for (const host of ["echo-v1", "echo-v2", "echo-v2.default.svc.cluster.local", "elsewhere.example.com"]) {
    assert.equal(serving(view, `${V2}:80`, { host }), "default/for-v2", host);
    assert.equal(serving(view, "echo-v2:80", { host }), "default/for-v2", host);
    assert.equal(serving(view, `${V1}:80`, { host }), "none", host);
    assert.equal(serving(view, "echo-v1:80", { host }), "none", host);
  }
});

test("no route of a service applies to the address of its workload", () => {
  const view = viewOf(to("for-v2", [routeParent("echo-v2")]));
  assert.equal(serving(view, "10.0.0.2:8080", { host: "echo-v2" }), "none");
});

test("a parent is all ports, the one of a number, or the one of a name", () => {
  const view = viewOf(
    to("one", [routeParent("echo-v1", { port: 80 })]),
    to("all", [routeParent("echo-v2")], { createdAt: 2 }),
    to("named", [routeParent("echo-v2", { sectionName: "http-alt" })], { createdAt: 1 }),
  );
  assert.equal(serving(view, "echo-v1:80"), "default/one");
  assert.equal(serving(view, "echo-v1:8080"), "none", "the target port is not the port");
  assert.equal(serving(view, "echo-v2:80"), "default/all");
  assert.equal(serving(view, "echo-v2:8080"), "default/named");
  const both = viewOf(to("both", [routeParent("echo-v1", { port: 80, sectionName: "http-alt" })]));
  assert.equal(serving(both, "echo-v1:80"), "none", "number and name must mean the same port");
});

test("a consumer's routes are for its own callers, in place of the producer's", () => {
  const parents = [routeParent("echo-v1")];
  const view = viewOf(to("default/producer", parents), to("shop/consumer", parents, { hostnames: ["shop.test"] }));
  assert.equal(serving(view, "echo-v1.default:80", { from: "shop", host: "shop.test" }), "shop/consumer");
  assert.equal(serving(view, "echo-v1.default:80", { from: "shop" }), "ROUTE_NOT_FOUND", "they are not merged");
  assert.equal(serving(view, "echo-v1:80"), "default/producer");
  assert.equal(serving(view, "echo-v1.default:80", { from: "other" }), "default/producer");
});

test("GRPCRoutes reject the HTTPRoutes of their namespace on the same port, and no others", () => {
  const view = viewOf(
    to("default/http", [routeParent("echo-v1")]),
    to("default/grpc", [routeParent("echo-v1", { port: 8080 })], { kind: "GRPCRoute", createdAt: 9 }),
    to("shop/http", [routeParent("echo-v1")]),
  );
  assert.equal(serving(view, "echo-v1:80"), "default/http");
  assert.equal(serving(view, "echo-v1:8080"), "default/grpc");
  assert.equal(serving(view, "echo-v1.default:8080", { from: "shop" }), "shop/http");
});

test("a ServiceEntry is a parent by its own name, a Service of that name is another", () => {
  const view = viewOf(
    to("entry", [routeParent("partner", { kind: "entry" })]),
    to("service", [routeParent("partner")]),
    to("host", [routeParent("api.example.com")]),
  );
  assert.equal(serving(view, "api.example.com:80"), "default/entry");
  assert.equal(serving(view, "240.240.0.9:80"), "default/entry");
});

test("a backend's own routes do not run", () => {
  const view = viewOf(to("first", [routeParent("echo-v1")]), to("second", [routeParent("echo-v2")]));
  const group = must(view.backend(routeBackend("echo-v2", 80)));
  assert.equal(group.name, "default/echo-v2:80");
});
