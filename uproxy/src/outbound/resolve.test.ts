import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure, type FailureCode } from "@culvert/shared/failure/failure.ts";
import { virtualAddresses } from "@culvert/shared/workload/virtual-address.ts";
import { id, ip, service, snapshot, TRUST_DOMAIN, waypoint, workload } from "@culvert/test/support/fixtures.ts";
import type { Destination } from "./hop.ts";
import { resolve } from "./resolve.ts";

const waypointLabel = { "gateway.networking.k8s.io/gateway-name": "waypoint" };
const mesh = snapshot({
  workloads: [
    workload("reviews-1", { addresses: ["10.0.0.5"], labels: { app: "reviews" }, serviceAccount: "reviews" }),
    workload("reviews-2", { addresses: ["fd00::6"], labels: { app: "reviews" }, serviceAccount: "reviews" }),
    workload("reviews-sick", { addresses: ["10.0.0.7"], labels: { app: "reviews" }, healthy: false }),
    workload("ratings-1", { addresses: ["10.0.0.8"], labels: { app: "ratings" }, hbonePort: 25008 }),
    workload("legacy-1", { addresses: ["10.0.0.9"], labels: { app: "legacy" }, protocol: "none" }),
    workload("lonely", { addresses: ["10.0.0.10"], waypoint: { namespace: "default", name: "waypoint" } }),
    workload("waypoint-1", { addresses: ["10.0.0.20"], labels: waypointLabel, serviceAccount: "waypoint" }),
  ],
  services: [
    service("reviews", { vips: ["10.96.0.1"] }),
    service("ratings", { waypoint: { namespace: "default", name: "waypoint" }, vips: ["10.96.0.2"] }),
    service("headless", { waypoint: { namespace: "default", name: "waypoint" }, selector: { app: "ratings" } }),
    service("legacy"),
    service("empty"),
    service("orphan", { waypoint: { namespace: "default", name: "gone" } }),
  ],
  waypoints: [waypoint("waypoint")],
});
/** That of `headless`, which the directory gave it. */
const VIRTUAL = virtualAddresses(["headless.default.svc.cluster.local"]).get("headless.default.svc.cluster.local")?.v4;
const self = { namespace: "default", trustDomain: TRUST_DOMAIN };

function to(host: string, port: number): Destination {
  return /^[\d.]+$|:/.test(host) ? { kind: "ip", ip: ip(host), port } : { kind: "name", host, port };
}

interface Expected {
  readonly endpoints: readonly string[];
  readonly authorities: readonly (string | undefined)[];
  readonly expects: readonly string[];
  readonly service: string | undefined;
  readonly waypoint?: string;
}

const reviews: Expected = {
  endpoints: ["10.0.0.5:15008", "fd00::6:15008"],
  authorities: ["10.0.0.5:8080", "[fd00::6]:8080"],
  expects: [id("default/reviews"), id("default/reviews")],
  service: "default/reviews",
};
const throughWaypoint = (authority: string, name: string | undefined): Expected => ({
  endpoints: ["10.0.0.20:15008"],
  authorities: [authority],
  expects: [id("default/waypoint")],
  service: name,
  waypoint: "waypoint",
});

const tunnels: readonly [string, Destination, Expected][] = [
  ["a service by short name", to("reviews", 80), reviews],
  ["a service by full name, any case", to("Reviews.default.svc.cluster.local", 80), reviews],
  ["a service by cluster IP", to("10.96.0.1", 80), reviews],
  [
    "a workload by address, any port",
    to("10.0.0.8", 9999),
    {
      endpoints: ["10.0.0.8:25008"],
      authorities: ["10.0.0.8:9999"],
      expects: [id("default/ratings-1")],
      service: undefined,
    },
  ],
  [
    "a service with a waypoint keeps its cluster IP",
    to("ratings", 80),
    throughWaypoint("10.96.0.2:80", "default/ratings"),
  ],
  [
    "a service with a waypoint and no cluster IP is named",
    to("headless", 80),
    throughWaypoint("headless.default.svc.cluster.local:80", "default/headless"),
  ],
  [
    "a service with a waypoint by its virtual address, which is named too",
    to(String(VIRTUAL), 80),
    throughWaypoint("headless.default.svc.cluster.local:80", "default/headless"),
  ],
  ["a workload with a waypoint", to("10.0.0.10", 443), throughWaypoint("10.0.0.10:443", undefined)],
  [
    "a workload outside the mesh is dialled plainly",
    to("legacy", 80),
    { endpoints: ["10.0.0.9:8080"], authorities: [undefined], expects: [], service: "default/legacy" },
  ],
];

for (const [name, destination, expected] of tunnels) {
  test(`leads to ${name}`, () => {
    const hop = resolve(mesh, self, destination, "refuse");
    assert.ok(!isFailure(hop) && hop.kind === "tunnel", String(isFailure(hop) ? hop : hop.kind));
    assert.deepEqual(
      {
        endpoints: hop.endpoints.map((endpoint) => `${endpoint.ip}:${endpoint.port}`),
        authorities: hop.endpoints.map((endpoint) => endpoint.authority),
        expects: hop.endpoints.flatMap((endpoint) => endpoint.expected),
        service: hop.service?.uid,
        ...(hop.waypoint === undefined ? {} : { waypoint: hop.waypoint.name }),
      },
      expected,
    );
  });
}

const refusals: readonly [string, Destination, FailureCode][] = [
  ["a port that the service does not have", to("reviews", 81), "DESTINATION_UNKNOWN"],
  ["a service without endpoints", to("empty", 80), "NO_HEALTHY_UPSTREAM"],
  ["a service whose waypoint does not exist", to("orphan", 80), "WAYPOINT_UNAVAILABLE"],
  ["an unknown name", to("example.com", 443), "EGRESS_REFUSED"],
  ["an unknown address", to("192.0.2.1", 443), "EGRESS_REFUSED"],
];

for (const [name, destination, code] of refusals) {
  test(`refuses ${name}`, () => {
    const hop = resolve(mesh, self, destination, "refuse");
    assert.equal(isFailure(hop) ? hop.code : hop.kind, code);
  });
}

test("passes unknown destinations through when told to, and only those", () => {
  assert.deepEqual(resolve(mesh, self, to("example.com", 443), "passthrough"), {
    kind: "passthrough",
    host: "example.com",
    port: 443,
    service: undefined,
  });
  const orphan = resolve(mesh, self, to("orphan", 80), "passthrough");
  assert.equal(isFailure(orphan) && orphan.code, "WAYPOINT_UNAVAILABLE");
});

test("a waypoint whose instances are all unhealthy fails closed", () => {
  const sick = snapshot({
    workloads: [workload("waypoint-1", { addresses: ["10.0.0.20"], labels: waypointLabel, healthy: false })],
    services: [service("ratings", { waypoint: { namespace: "default", name: "waypoint" } })],
    waypoints: [waypoint("waypoint")],
  });
  const hop = resolve(sick, self, to("ratings", 80), "passthrough");
  assert.equal(isFailure(hop) && hop.code, "WAYPOINT_UNAVAILABLE");
});

test("says each step of its reasoning", () => {
  const steps: string[] = [];
  resolve(mesh, self, to("reviews", 80), "refuse", (step) => steps.push(step));
  assert.deepEqual(steps, [
    "reviews:80 is service default/reviews (reviews.default.svc.cluster.local)",
    `endpoint default/reviews-1 at 10.0.0.5:15008, tunnel to 10.0.0.5:8080, expecting ${id("default/reviews")}`,
    `endpoint default/reviews-2 at [fd00::6]:15008, tunnel to [fd00::6]:8080, expecting ${id("default/reviews")}`,
    "workload default/reviews-sick is not healthy: left out",
  ]);
  steps.length = 0;
  resolve(mesh, self, to(String(VIRTUAL), 80), "refuse", (step) => steps.push(step));
  assert.equal(
    steps[0],
    `${VIRTUAL}:80 is a virtual address of service default/headless (headless.default.svc.cluster.local)`,
  );
});
