import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseIp, type Ip } from "../net/ip.ts";
import { Directory, targetPort } from "./directory.ts";
import type { Service, ServicePort, Waypoint, Workload } from "./workload.ts";

function ip(text: string): Ip {
  const parsed = parseIp(text);
  assert.ok(parsed !== undefined);
  return parsed;
}

function workload(uid: string, parts: Partial<Workload> = {}): Workload {
  const [namespace = "", name = ""] = uid.split("/");
  return {
    uid,
    namespace,
    name,
    serviceAccount: "default",
    addresses: [],
    hostname: undefined,
    labels: new Map(),
    protocol: "hbone",
    hbonePort: 15008,
    ports: new Map(),
    weight: 1,
    healthy: true,
    waypoint: undefined,
    requireWaypoint: false,
    node: undefined,
    ...parts,
  };
}

function service(uid: string, parts: Partial<Service> = {}): Service {
  const [namespace = "", name = ""] = uid.split("/");
  return {
    uid,
    namespace,
    name,
    hostname: `${name}.${namespace}.svc.cluster.local`,
    vips: [],
    ports: [],
    selector: undefined,
    waypoint: undefined,
    requireWaypoint: false,
    ...parts,
  };
}

const gateway: Waypoint = {
  namespace: "shop",
  name: "waypoint",
  serves: "service",
  placement: "remote",
  port: 15008,
  addresses: [],
};

const reviews1 = workload("shop/reviews-1", {
  addresses: [ip("10.0.0.1"), ip("2001:db8::1")],
  labels: new Map([
    ["app", "reviews"],
    ["version", "v1"],
  ]),
});
const reviews2 = workload("shop/reviews-2", {
  addresses: [ip("10.0.0.1")],
  hbonePort: 25008,
  labels: new Map([
    ["app", "reviews"],
    ["version", "v2"],
  ]),
  waypoint: { namespace: "shop", name: "own" },
});
const stranger = workload("other/reviews", { labels: new Map([["app", "reviews"]]) });
const instance = workload("shop/waypoint-1", {
  labels: new Map([["gateway.networking.k8s.io/gateway-name", "waypoint"]]),
});

const ref = { namespace: "shop", name: "waypoint" };
const reviews = service("shop/reviews", {
  vips: [ip("10.96.0.1")],
  selector: new Map([["app", "reviews"]]),
  waypoint: ref,
});
const reviewsV2 = service("shop/reviews-v2", {
  selector: new Map([
    ["app", "reviews"],
    ["version", "v2"],
  ]),
  waypoint: ref,
});
const lonely = service("shop/lonely", { selector: new Map([["app", "nobody"]]) });
const unselective = service("shop/unselective", { selector: new Map() });
const external = service("other/reviews");

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
  assert.equal(directory.serviceByVip(ip("10.96.0.1")), reviews);
  assert.equal(directory.serviceByVip(ip("10.0.0.1")), undefined);
  assert.equal(directory.service("shop/reviews-v2"), reviewsV2);
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
    workloads: ids.map((id) =>
      workload(`shop/w-${id}`, {
        labels: new CountingMap([
          ["id", id],
          ["all", "yes"],
        ]),
      }),
    ),
    services: ids.map((id) =>
      service(`shop/s-${id}`, {
        selector: new Map([
          ["all", "yes"],
          ["id", id],
        ]),
      }),
    ),
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
    test(name, () =>
      assert.equal(targetPort(reviews, port, workload("shop/w", { ports: new Map(Object.entries(ports)) })), expected),
    );
  }
});
