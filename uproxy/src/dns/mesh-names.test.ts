// Which names are the mesh's, and what they stand for.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { ExplicitListener } from "@culvert/shared/config/process/process-config.ts";
import { Directory } from "@culvert/shared/workload/directory.ts";
import { ip, service, serviceEntry, workload } from "@culvert/test/support/fixtures.ts";
import { lastGoodAddresses, meshAddresses, standInsOf, type NameContext } from "./mesh-names.ts";

const reviews = service("shop/reviews");
const ratings = service("shop/ratings", { vips: ["10.96.0.1", "fd00::1"] });
const db = service("shop/db", { headless: true, selector: { app: "db" } });
const directory = new Directory({
  workloads: [
    workload("shop/db-0", { addresses: ["10.0.0.1", "fd00::a"], labels: { app: "db" } }),
    workload("shop/db-1", { addresses: ["10.0.0.2"], labels: { app: "db" } }),
    workload("shop/db-2", { addresses: ["10.0.0.3"], labels: { app: "db" }, healthy: false }),
    workload("shop/moved", { addresses: ["10.0.0.9"], hostname: "moved.example" }),
  ],
  services: [reviews, ratings, db],
  waypoints: [],
});
const virtual = directory.virtualAddresses(reviews);
assert.ok(virtual !== undefined);

const context: NameContext = {
  directory,
  namespace: "shop",
  families: new Set([4, 6]),
  isCaptured: false,
  standIns: new Map(),
};

describe("every form of a name, also as the resolver of a pod completes it", () => {
  const forms = [
    "reviews",
    "reviews.shop",
    "reviews.shop.svc",
    "reviews.shop.svc.cluster.local",
    // search shop.svc.cluster.local svc.cluster.local cluster.local
    "reviews.shop.shop.svc.cluster.local",
    "reviews.shop.svc.shop.svc.cluster.local",
    "reviews.shop.svc.cluster.local.shop.svc.cluster.local",
    "reviews.svc.cluster.local",
    "reviews.shop.svc.svc.cluster.local",
    "reviews.shop.cluster.local",
    "reviews.shop.svc.cluster.local.cluster.local",
  ];
  for (const form of forms) {
    test(form, () => assert.deepEqual(meshAddresses(form, context), [virtual.v4, virtual.v6]));
  }
});

describe("names of others", () => {
  const others = [
    "example.com",
    "reviews.other",
    "other.shop.svc.cluster.local",
    "a.reviews.shop",
    "cluster.local",
    "local",
  ];
  for (const other of others) test(other, () => assert.equal(meshAddresses(other, context), undefined));

  test("a short name means the caller's namespace", () => {
    assert.equal(meshAddresses("reviews", { ...context, namespace: "other" }), undefined);
    assert.deepEqual(meshAddresses("reviews.shop", { ...context, namespace: "other" }), [virtual.v4, virtual.v6]);
  });
});

function leads(host: string, port: number, listen: string, at: number): ExplicitListener {
  return {
    listen: { kind: "tcp", host: listen, port: at },
    to: { host, port },
    mode: 0o660,
    prewarm: false,
    proxyProtocol: undefined,
  };
}

describe("what a name stands for", () => {
  test("cluster IPs as they are, whatever this host speaks", () => {
    assert.deepEqual(meshAddresses("ratings", { ...context, families: new Set([4]) }), ["10.96.0.1", "fd00::1"]);
  });

  test("virtual addresses of families that this host speaks", () => {
    assert.deepEqual(meshAddresses("reviews", { ...context, families: new Set([4]) }), [virtual.v4]);
    assert.deepEqual(meshAddresses("reviews", { ...context, families: new Set([6]) }), [virtual.v6]);
  });

  test("the endpoints of a headless service that are healthy, and each by its name", () => {
    assert.deepEqual(meshAddresses("db", context), ["10.0.0.1", "fd00::a", "10.0.0.2"]);
    assert.deepEqual(meshAddresses("db-1.db", context), ["10.0.0.2"]);
    assert.deepEqual(meshAddresses("db-0.db.shop.svc.cluster.local", context), ["10.0.0.1", "fd00::a"]);
    assert.equal(meshAddresses("db-7.db", context), undefined);
    assert.equal(meshAddresses("db-1.reviews", context), undefined);
  });

  test("an explicit listener on the service's own port stands in for it", () => {
    const standIns = standInsOf(
      [
        leads("reviews", 80, "127.0.0.1", 80),
        leads("reviews", 81, "localhost", 81),
        leads("10.96.0.1", 80, "127.0.0.2", 8080),
        leads("elsewhere.example", 80, "127.0.0.1", 80),
        {
          listen: { kind: "unix", path: "/x" },
          to: { host: "ratings", port: 80 },
          mode: 0o660,
          prewarm: false,
          proxyProtocol: undefined,
        },
      ],
      directory,
      "shop",
    );
    assert.deepEqual([...standIns], [[reviews, ["127.0.0.1"]]]);
    assert.deepEqual(meshAddresses("reviews.shop", { ...context, standIns }), ["127.0.0.1"]);
  });
});

test("what lies outside: its own addresses, virtual ones where connections are captured, else what others say", () => {
  const places = [workload("e", { addresses: ["192.0.2.7"], hostname: "api.example" })];
  const entries = new Directory({
    workloads: [],
    services: [
      { ...serviceEntry("shop/fixed", "fixed.example"), vips: [ip("192.0.2.1")] },
      serviceEntry("shop/api", "api.example", { endpoints: places }),
      { ...serviceEntry("shop/wild", "*.wild.example"), headless: true },
    ],
    waypoints: [],
  });
  const asked = { ...context, directory: entries };
  assert.deepEqual(meshAddresses("fixed.example", asked), ["192.0.2.1"]);
  assert.deepEqual(meshAddresses("fixed.example.shop.svc.cluster.local", asked), ["192.0.2.1"]);
  assert.equal(meshAddresses("api.example", asked), undefined);
  assert.match(String(meshAddresses("api.example", { ...asked, isCaptured: true })), /^24\d\..*,fd63:/);
  assert.equal(meshAddresses("a.wild.example", { ...asked, isCaptured: true }), undefined);
  assert.deepEqual(lastGoodAddresses("api.example", entries), ["192.0.2.7"]);
});

test("the host name of a workload is somebody else's name, of which the last addresses are known", () => {
  assert.equal(meshAddresses("moved.example", context), undefined);
  assert.deepEqual(lastGoodAddresses("moved.example", directory), [ip("10.0.0.9")]);
  assert.deepEqual(lastGoodAddresses("other.example", directory), []);
});
