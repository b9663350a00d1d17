import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import type { Waypoint } from "@culvert/shared/workload/workload.ts";
import { id, ip } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { SELF, service, servicePort, snapshot, WAYPOINT, waypointInstance, workload } from "../mesh-fixtures.ts";
import { describeDestination, protocolOf, resolveDestination } from "./destination.ts";

const mesh = (waypoint: Waypoint = WAYPOINT) =>
  snapshot({
    waypoints: [waypoint],
    services: [
      service("default/reviews", { vips: [ip("10.96.0.1"), ip("fd00::96")] }),
      service("shop/cart"),
      service("default/ratings", { waypoint: undefined, vips: [ip("10.96.0.2")] }),
      service("default/details", { waypoint: { namespace: "default", name: "other" }, vips: [ip("10.96.0.3")] }),
      service("default/db", {
        ports: [servicePort({ name: "tcp", port: 5432, targetPort: 5433, appProtocol: "tcp" })],
      }),
    ],
    workloads: [
      workload("default/reviews-1", "10.0.0.1"),
      workload("default/ratings-1", "10.0.0.2"),
      workload("default/lonely-1", "10.0.0.3", { waypoint: SELF.gateway }),
      workload("default/db-1", "10.0.0.4"),
      workload("default/reviews-2", "10.0.0.5", { hbonePort: 25008 }),
      workload("default/db-2", "10.0.0.5", { hbonePort: 25009 }),
      workload("default/reviews-3", "10.0.0.6", { hbonePort: 25008 }),
      workload("default/ratings-3", "10.0.0.6", { hbonePort: 25009 }),
      workload("default/db-4", "10.0.0.7", { hbonePort: 25008 }),
      workload("default/ratings-4", "10.0.0.7", { hbonePort: 25009 }),
      workload("default/db-9", "10.0.0.9"),
      workload("default/reviews-9", "10.0.0.9", { hbonePort: 25008 }),
      waypointInstance("10.0.0.9"),
    ],
  }).directory;

function resolved(authority: string, caller = "default/curl", waypoint: Waypoint = WAYPOINT): string {
  const namespace = caller.split("/")[0];
  const result = resolveDestination(mesh(waypoint), SELF, must(parseAuthority(authority)), {
    id: id(caller),
    namespace,
  });
  return isFailure(result) ? result.code : `${describeDestination(result)} ${protocolOf(result)}`;
}

test("a service is reached by its cluster IP or any of its names, on a port that it has", () => {
  const reviews = "service default/reviews port 9080 http";
  for (const host of ["10.96.0.1", "[fd00::96]", "reviews", "REVIEWS.default", "reviews.default.svc.cluster.local"]) {
    assert.equal(resolved(`${host}:9080`), reviews, host);
  }
  assert.equal(resolved("reviews:80"), "DESTINATION_UNKNOWN");
  assert.equal(resolved("10.96.0.1:15008"), "DESTINATION_UNKNOWN");
});

test("a waypoint serves what another one shares with it, and its workloads", () => {
  const sharing = { ...WAYPOINT, shares: [{ ref: { namespace: "default", name: "canary" }, weight: 1 }] };
  const canary = { ...SELF, gateway: { namespace: "default", name: "canary" } };
  const caller = { id: id("default/curl"), namespace: "default" };
  const served = (waypoint: Waypoint, authority: string): boolean =>
    !isFailure(resolveDestination(mesh(waypoint), canary, must(parseAuthority(authority)), caller));
  for (const authority of ["reviews:9080", "10.0.0.1:9080"]) {
    assert.equal(served(sharing, authority), true, authority);
    assert.equal(served(WAYPOINT, authority), false, authority);
  }
});

test("a short name is read in the caller's namespace", () => {
  assert.equal(resolved("cart:9080", "shop/web"), "service shop/cart port 9080 http");
  assert.equal(resolved("cart:9080", "default/curl"), "DESTINATION_UNKNOWN");
  const foreign = { id: id("shop/web", must(parseTrustDomain("far.example"))), namespace: undefined };
  const short = resolveDestination(mesh(), SELF, must(parseAuthority("cart:9080")), foreign);
  assert.ok(isFailure(short) && short.code === "DESTINATION_UNKNOWN");
});

test("what another waypoint serves, or none, is not relayed", () => {
  for (const authority of ["ratings:9080", "10.96.0.2:9080", "details:9080", "10.96.0.3:9080", "10.0.0.2:9080"]) {
    assert.equal(resolved(authority), "DESTINATION_UNKNOWN", authority);
  }
});

test("what no resource knows is not relayed", () => {
  const targets = ["127.0.0.1:80", "169.254.169.254:80", "0.0.0.0:80", "[::1]:80", "10.0.0.77:9080", "example.com:80"];
  for (const authority of targets) assert.equal(resolved(authority), "DESTINATION_UNKNOWN", authority);
});

test("a workload is reached by its address when it or one of its services is served here", () => {
  assert.equal(resolved("10.0.0.1:9080"), "workload default/reviews-1 port 9080 http");
  assert.equal(resolved("10.0.0.1:7777"), "workload default/reviews-1 port 7777 unspecified");
  assert.equal(resolved("10.0.0.3:80"), "workload default/lonely-1 port 80 unspecified");
  assert.equal(resolved("10.0.0.4:5433"), "workload default/db-1 port 5433 tcp");
});

test("workloads that share an address are told apart by their ports, or not at all", () => {
  assert.equal(resolved("10.0.0.5:9080"), "workload default/reviews-2 port 9080 http");
  assert.equal(resolved("10.0.0.5:5433"), "workload default/db-2 port 5433 tcp");
  assert.equal(resolved("10.0.0.5:1234"), "DESTINATION_UNKNOWN");
  assert.equal(resolved("10.0.0.6:9080"), "DESTINATION_UNKNOWN", "both have the port, one is not served here");
  assert.equal(resolved("10.0.0.7:5433"), "workload default/db-4 port 5433 tcp");
  assert.equal(resolved("10.0.0.7:9080"), "DESTINATION_UNKNOWN", "the port of the one that is not served here");
});

test("beside the waypoint a workload has its own ports, unless it is reached through the waypoint itself", () => {
  assert.equal(resolved("10.0.0.9:9080"), "workload default/reviews-9 port 9080 http");
  for (const port of [80, 5433, 15000, 15020, 15021]) assert.equal(resolved(`10.0.0.9:${port}`), "SELF_CALL");
});

test("the waypoint and the proxies' own ports are refused", () => {
  for (const authority of ["10.0.0.9:80", "10.0.0.1:15008", "10.0.0.1:15001", "10.0.0.5:25008", "10.0.0.9:15008"]) {
    assert.equal(resolved(authority), "SELF_CALL", authority);
  }
});

test("a request of the waypoint itself is a loop, unless it shares the identity of those whom it serves", () => {
  assert.equal(resolved("reviews:9080", "default/waypoint"), "LOOP_DETECTED");
  for (const placement of ["sidecar", "service-account"] as const) {
    const shared = resolved("reviews:9080", "default/waypoint", { ...WAYPOINT, placement });
    assert.equal(shared, "service default/reviews port 9080 http");
  }
});
