import assert from "node:assert/strict";
import { test } from "node:test";
import type { HttpRoute } from "@culvert/shared/config/http-route.ts";
import type { StreamRoute } from "@culvert/shared/config/stream-route.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { AuthorizationPolicy, PolicyOperation, PolicySource } from "@culvert/shared/policy/authorization.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import { id, ip, route, routeBackend, routeParent, streamRoute } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { policy, SELF, service, servicePort, snapshot, workload } from "../mesh-fixtures.ts";
import { ConnectionGuard } from "./guard.ts";
import { MeshView } from "./view.ts";

function view(policies: AuthorizationPolicy[], routes: HttpRoute[] = [], before?: MeshView): MeshView {
  const mesh = snapshot({
    policies,
    routes,
    services: [
      service("default/reviews"),
      service("default/mirror", { selector: new Map([["app", "reviews"]]) }),
      service("default/chat", { ports: [servicePort({ appProtocol: "http2" })] }),
    ],
    workloads: [
      workload("default/reviews-1", "10.0.0.1"),
      workload("default/alone-1", "10.0.0.2", { waypoint: SELF.gateway }),
    ],
  });
  return new MeshView(mesh, SELF, before);
}

function rule(from: PolicySource, to?: PolicyOperation): AuthorizationPolicy["rules"] {
  return [{ from: [from], to: to === undefined ? [] : [to] }];
}

const CURL: PolicySource = { principals: [{ kind: "exact", value: "cluster.local/ns/default/sa/curl" }] };
const ADMIN: PolicyOperation = { paths: [{ kind: "prefix", value: "/admin" }] };

function guardOf(mesh: MeshView, authority: string, caller = "default/curl"): ConnectionGuard {
  const destination = must(mesh.destination(must(parseAuthority(authority)), { id: id(caller), namespace: "default" }));
  return new ConnectionGuard(mesh.guard(destination), {
    principal: id(caller),
    sourceIp: ip("10.0.0.8"),
    destinationIp: undefined,
    destinationPort: 9080,
  });
}

const get = (path: string) => ({ method: "GET", host: "reviews", path });

test("without policies everything may pass, with an allow policy only what it names", () => {
  assert.ok(guardOf(view([]), "reviews:9080").decideRequest(get("/")).allowed);
  const guarded = view([policy("curl", { rules: rule(CURL) })]);
  assert.deepEqual(guardOf(guarded, "reviews:9080").decideRequest(get("/")).policy, "default/curl");
  assert.ok(!guardOf(guarded, "reviews:9080", "default/other").decideRequest(get("/")).allowed);
});

test("a refusal that no request can change is known from the connection", () => {
  const mesh = view([policy("no", { action: "DENY", rules: rule(CURL) })]);
  assert.equal(guardOf(mesh, "reviews:9080").settledDenial?.policy, "default/no");
  assert.equal(guardOf(mesh, "reviews:9080", "default/other").settledDenial, undefined);
  const byPath = view([policy("no", { action: "DENY", rules: rule(CURL, ADMIN) })]);
  assert.equal(guardOf(byPath, "reviews:9080").settledDenial, undefined);
  assert.ok(!guardOf(byPath, "reviews:9080").decideRequest(get("/admin/x")).allowed);
  assert.ok(guardOf(byPath, "reviews:9080").decideRequest(get("/")).allowed);
});

test("plain TCP before policies that ask for HTTP fails closed", () => {
  const deny = view([policy("no", { action: "DENY", rules: rule(CURL, ADMIN) })]);
  assert.ok(!guardOf(deny, "reviews:9080").decideConnection().allowed);
  const allow = view([policy("yes", { rules: rule(CURL, ADMIN) })]);
  assert.ok(!guardOf(allow, "reviews:9080").decideConnection().allowed);
  const plain = view([policy("yes", { rules: rule(CURL) })]);
  assert.ok(guardOf(plain, "reviews:9080").decideConnection().allowed);
});

test("the address of a workload is no way around the policies of its services", () => {
  const mesh = view([policy("no", { action: "DENY", rules: rule(CURL) })]);
  assert.ok(!guardOf(mesh, "10.0.0.1:9080").decideRequest(get("/")).allowed);
  assert.ok(guardOf(mesh, "mirror:9080").decideRequest(get("/")).allowed, "the other service has no such policy");
  assert.ok(guardOf(mesh, "10.0.0.2:9080").decideRequest(get("/")).allowed);
});

test("a policy of the Gateway holds for all that it serves", () => {
  const target = { kind: "refs", refs: [{ kind: "Gateway", name: "waypoint" }] } as const;
  const mesh = view([policy("no", { action: "DENY", rules: rule(CURL), target })]);
  for (const authority of ["reviews:9080", "10.0.0.1:9080", "10.0.0.2:80"]) {
    assert.ok(!guardOf(mesh, authority).decideRequest(get("/")).allowed, authority);
  }
});

test("routes belong to services, endpoints keep their load over a change", () => {
  const mesh = view([], [route("r", { parents: [routeParent("reviews")] })]);
  const caller = { id: id("default/curl"), namespace: "default" };
  const bySvc = must(mesh.destination(must(parseAuthority("reviews:9080")), caller));
  const byIp = must(mesh.destination(must(parseAuthority("10.0.0.1:9080")), caller));
  assert.ok(mesh.routes(bySvc, "default") !== undefined);
  assert.equal(mesh.routes(bySvc, "default"), mesh.routes(bySvc, "default"));
  assert.equal(mesh.routes(byIp, "default"), undefined);
  const endpoint = must(must(mesh.group(bySvc)).endpoints[0]);
  endpoint.load.inFlight = 3;
  const again = must(view([], [], mesh).group(byIp));
  assert.equal(must(again.endpoints[0]).load, endpoint.load);
});

test("a backend must be a service port that speaks HTTP, in any version", () => {
  const mesh = view([]);
  const backend = routeBackend("reviews", 9080);
  assert.ok(!isFailure(mesh.backend(backend)));
  assert.ok(!isFailure(mesh.backend({ ...backend, name: "chat" })));
  for (const bad of [{ name: "none" }, { port: 80 }]) {
    const result = mesh.backend({ ...backend, ...bad });
    assert.ok(isFailure(result) && result.code === "BACKEND_INVALID");
  }
});

test("routes of connections are there where none of HTTP are, by the callers' namespace first", () => {
  const parents = [routeParent("reviews")];
  const contents = { services: [service("default/reviews")], workloads: [workload("default/reviews-1", "10.0.0.1")] };
  const http = route("http", { parents });
  const mine = streamRoute("shop/mine", [], { parents });
  const found = (streamRoutes: StreamRoute[], routes: HttpRoute[], namespace: string): string => {
    const mesh = new MeshView(snapshot({ ...contents, routes, streamRoutes }), SELF);
    const to = must(
      mesh.destination(must(parseAuthority("reviews.default:9080")), { id: id("default/curl"), namespace }),
    );
    const stream = mesh.streamRoutes(to, namespace) === undefined ? "" : " stream";
    return `${mesh.routes(to, namespace) === undefined ? "" : "http"}${stream}`;
  };
  assert.equal(found([streamRoute("s", [], { parents })], [], "default"), " stream");
  assert.equal(found([streamRoute("s", [], { parents })], [http], "shop"), "http");
  assert.equal(found([mine], [http], "shop"), " stream");
  assert.equal(found([mine], [http], "default"), "http");
  assert.equal(found([mine], [route("shop/own", { parents })], "shop"), "http");
});
