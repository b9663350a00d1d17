import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ip, service, waypoint, workload } from "@culvert/test/support/fixtures.ts";
import { Directory, targetPort } from "./directory.ts";
import type { Service, ServicePort } from "./workload.ts";

const gateway = waypoint("shop/waypoint");

const reviews1 = workload("shop/reviews-1", {
  addresses: ["10.0.0.1", "2001:db8::1"],
  labels: { app: "reviews", version: "v1" },
});
const reviews2 = workload("shop/reviews-2", {
  addresses: ["10.0.0.1"],
  hbonePort: 25008,
  labels: { app: "reviews", version: "v2" },
  waypoint: { namespace: "shop", name: "own" },
});
const stranger = workload("other/reviews", { labels: { app: "reviews" } });
const instance = workload("shop/waypoint-1", {
  labels: { "gateway.networking.k8s.io/gateway-name": "waypoint" },
});

const ref = { namespace: "shop", name: "waypoint" };
const reviews = service("shop/reviews", {
  vips: ["10.96.0.1"],
  selector: { app: "reviews" },
  waypoint: ref,
});
const reviewsV2 = service("shop/reviews-v2", {
  selector: { app: "reviews", version: "v2" },
  waypoint: ref,
});
const lonely = service("shop/lonely", { selector: { app: "nobody" } });
const unselective = service("shop/unselective", { selector: {} });
const external: Service = { ...service("other/reviews"), selector: undefined };

const directory = new Directory({
  workloads: [reviews1, reviews2, stranger, instance],
  services: [reviews, reviewsV2, lonely, unselective, external],
  waypoints: [gateway],
});

test("workloads are found by name and address", () => {
  assert.equal(directory.workload("shop/reviews-1"), reviews1);
  assert.equal(directory.workload("shop/none"), undefined);
  assert.deepEqual(directory.workloadsAt(ip("10.0.0.1")), [reviews1, reviews2]);
  assert.deepEqual(directory.workloadsAt(ip("2001:db8::1")), [reviews1]);
  assert.deepEqual(directory.workloadsAt(ip("10.0.0.2")), []);
});

describe("services are found by host name, read in the caller's namespace", () => {
  const rows: [string, string, Service | undefined][] = [
    ["reviews", "shop", reviews],
    ["reviews", "other", external],
    ["reviews", "third", undefined],
    ["reviews.shop", "other", reviews],
    ["reviews.other", "shop", external],
    ["reviews.shop.svc", "other", reviews],
    ["reviews.shop.svc.cluster.local", "other", reviews],
    ["REVIEWS.Shop.SVC.Cluster.Local", "other", reviews],
    ["reviews.shop.svc.cluster.local.", "other", reviews],
    ["reviews.", "shop", reviews],
    ["reviews.shop.svc.cluster", "other", undefined],
    ["reviews.shop.svc.example.com", "other", undefined],
    ["reviews.shop.pod", "other", undefined],
    ["a.reviews.shop.svc.cluster.local", "other", undefined],
    ["reviews..", "shop", undefined],
    [".shop", "shop", undefined],
    ["shop/reviews", "shop", undefined],
    ["", "shop", undefined],
    [".", "shop", undefined],
    [".svc.cluster.local", "shop", undefined],
    [`${"a.".repeat(50_000)}a`, "shop", undefined],
  ];
  for (const [host, namespace, expected] of rows) {
    test(`${host.slice(0, 40)} from ${namespace}`, () =>
      assert.equal(directory.serviceByHost(host, namespace), expected));
  }
});

test("services are found by cluster IP and name", () => {
  assert.equal(directory.serviceByVip(ip("10.96.0.1"), "shop"), reviews);
  assert.equal(directory.serviceByVip(ip("10.0.0.1"), "shop"), undefined);
  assert.equal(directory.service("shop/reviews-v2"), reviewsV2);
});

test("a service without address has virtual ones, by which it is found; one with a cluster IP or headless has none", () => {
  const headless = service("shop/headless", { headless: true });
  const some = new Directory({ workloads: [], services: [reviews, lonely, headless], waypoints: [] });
  const { v4, v6 } = some.virtualAddresses(lonely) ?? {};
  assert.ok(v4 !== undefined && v6 !== undefined);
  assert.equal(some.serviceByVip(v4, "web"), lonely);
  assert.equal(some.serviceByVip(v6, "web"), lonely);
  for (const other of [reviews, headless]) assert.equal(some.virtualAddresses(other), undefined);
  assert.equal(some.serviceByVip(ip("241.0.0.1"), "web"), undefined);
});

test("a service selects workloads of its own namespace that carry all of its labels", () => {
  assert.deepEqual(directory.endpoints(reviews), [reviews1, reviews2]);
  assert.deepEqual(directory.endpoints(reviewsV2), [reviews2]);
  for (const empty of [lonely, unselective, external]) assert.deepEqual(directory.endpoints(empty), []);
  assert.deepEqual(directory.servicesOf(reviews1), [reviews]);
  assert.deepEqual(directory.servicesOf(reviews2), [reviews, reviewsV2]);
  assert.deepEqual(directory.servicesOf(stranger), []);
});

test("waypoints have instances, and stand before workloads", () => {
  assert.equal(directory.waypoint(ref), gateway);
  assert.equal(directory.waypoint({ namespace: "other", name: "waypoint" }), undefined);
  assert.deepEqual(directory.waypointInstances(ref), [instance]);
  assert.deepEqual(directory.waypointsBefore(reviews1), [ref]);
  assert.deepEqual(directory.waypointsBefore(reviews2), [{ namespace: "shop", name: "own" }, ref]);
  assert.deepEqual(directory.waypointsBefore(stranger), []);
});

test("everything can be listed", () => {
  assert.equal([...directory.workloads()].length, 4);
  assert.equal([...directory.services()].length, 5);
  assert.deepEqual([...directory.waypoints()], [gateway]);
});

test("the work is linear in workloads and services", () => {
  // Counts how often labels are looked at: 2,000 services over 2,000 workloads would be four million if each were tried.
  let looks = 0;
  class CountingMap extends Map<string, string> {
    override get(key: string): string | undefined {
      looks += 1;
      return super.get(key);
    }
  }
  const ids = Array.from({ length: 2000 }, (_, i) => String(i));
  const many = new Directory({
    workloads: ids.map((id) => {
      const labels = new CountingMap([
        ["id", id],
        ["all", "yes"],
      ]);
      return { ...workload(`shop/w-${id}`), labels };
    }),
    services: ids.map((id) => service(`shop/s-${id}`, { selector: { all: "yes", id } })),
    waypoints: [],
  });
  assert.equal(many.endpoints(service("shop/s-7")).length, 1);
  assert.ok(looks <= 4 * ids.length, `${looks} looks`);
});

describe("targetPort", () => {
  const rows: [string, ServicePort, Record<string, number>, number | undefined][] = [
    ["a number", { name: "http", port: 80, targetPort: 8080, appProtocol: "http" }, {}, 8080],
    [
      "the workload's own port of that name",
      { name: "http", port: 80, targetPort: 8080, appProtocol: "http" },
      { http: 9090 },
      9090,
    ],
    ["a named target", { name: "http", port: 80, targetPort: "web", appProtocol: "http" }, { web: 8081 }, 8081],
    [
      "the named target before the service port's name",
      { name: "http", port: 80, targetPort: "web", appProtocol: "http" },
      { http: 1, web: 2 },
      2,
    ],
    [
      "the service port's name where the target is not there",
      { name: "http", port: 80, targetPort: "web", appProtocol: "http" },
      { http: 1 },
      1,
    ],
    [
      "a name that nobody has",
      { name: "http", port: 80, targetPort: "web", appProtocol: "http" },
      { grpc: 1 },
      undefined,
    ],
  ];
  for (const [name, port, ports, expected] of rows) {
    test(name, () => assert.equal(targetPort(reviews, port, workload("shop/w", { ports })), expected));
  }
});
