import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ip, service, serviceEntry, servicePort, workload } from "@culvert/test/support/fixtures.ts";
import { Directory } from "./directory.ts";
import type { Service } from "./workload.ts";

const api = serviceEntry("out/api", "api.example.com", {
  endpoints: [workload("out/api#0", { addresses: ["192.0.2.10"], ports: { tls: 8443 } })],
});
const wide = serviceEntry("out/wide", "*.example.com", {
  resolution: "none",
  cidrs: ["198.51.0.0/16", "2001:db8::/32"],
});
const deep = serviceEntry(
  "out/deep",
  "*.eu.example.com",
  { cidrs: ["198.51.100.0/24"] },
  { vips: [ip("203.0.113.1")] },
);
const hidden = serviceEntry("out/hidden", "hidden.example.com", { exportedTo: ["shop"] });
const own = serviceEntry("shop/api", "api.example.com", { exportedTo: ["shop"] }, { vips: [ip("203.0.113.1")] });
const thief = serviceEntry("out/thief", "reviews.shop.svc.cluster.local", {}, { vips: [ip("10.96.0.1")] });
const reviews = service("shop/reviews", { vips: ["10.96.0.1"] });

const directory = new Directory({
  workloads: [],
  services: [api, wide, deep, hidden, own, thief, reviews],
  waypoints: [],
});

describe("by host: exact, else the longest wildcard, as the caller's namespace sees it", () => {
  const rows: [string, string, Service | undefined][] = [
    ["api.example.com", "web", api],
    ["API.Example.COM.", "web", api],
    ["api.example.com", "shop", own],
    ["x.example.com", "web", wide],
    ["a.b.example.com", "web", wide],
    ["a.eu.example.com", "web", deep],
    ["eu.example.com", "web", wide],
    ["example.com", "web", undefined],
    ["xexample.com", "web", undefined],
    ["*.example.com", "web", undefined],
    ["hidden.example.com", "shop", hidden],
    // What a namespace does not see is not there for it: the wildcard is.
    ["hidden.example.com", "web", wide],
    ["reviews.shop.svc.cluster.local", "web", reviews],
    [`${"a.".repeat(50_000)}example.com`, "web", undefined],
  ];
  for (const [host, namespace, expected] of rows) {
    test(`${host.slice(0, 40)} from ${namespace}`, () =>
      assert.equal(directory.serviceByHost(host, namespace), expected));
  }
});

test("by address: a Service before an entry, the caller's own before others, the narrowest block", () => {
  assert.equal(directory.serviceByVip(ip("10.96.0.1"), "out"), reviews);
  assert.equal(directory.serviceByVip(ip("203.0.113.1"), "web"), deep);
  assert.equal(directory.serviceByVip(ip("203.0.113.1"), "shop"), own);
  assert.equal(directory.serviceByBlock(ip("198.51.100.7"), "web"), deep);
  assert.equal(directory.serviceByBlock(ip("198.51.7.7"), "web"), wide);
  assert.equal(directory.serviceByBlock(ip("2001:db8::7"), "web"), wide);
  assert.equal(directory.serviceByBlock(ip("198.52.0.1"), "web"), undefined);
});

test("by endpoint: at the port where one of the entry's ports leads", () => {
  assert.deepEqual(directory.serviceByEndpoint(ip("192.0.2.10"), 8443, "web"), [api, servicePort("tls", 443)]);
  assert.equal(directory.serviceByEndpoint(ip("192.0.2.10"), 443, "web"), undefined);
  assert.equal(directory.serviceByEndpoint(ip("192.0.2.11"), 8443, "web"), undefined);
});

test("the places that an entry names are its endpoints, and no workloads of the mesh", () => {
  assert.deepEqual(directory.endpoints(api), api.entry?.endpoints);
  assert.deepEqual(directory.workloadsAt(ip("192.0.2.10")), []);
  assert.equal(directory.workload("out/api#0"), undefined);
});

test("a virtual address is the host's, as the caller's namespace sees it, and never that of a Service", () => {
  const v4 = directory.virtualAddresses(api)?.v4;
  assert.ok(v4 !== undefined);
  assert.equal(directory.serviceByVip(v4, "web"), api);
  assert.equal(directory.serviceByVip(v4, "shop"), own);
  const bare = service("shop/reviews");
  const stolen = serviceEntry("out/thief", bare.hostname);
  const both = new Directory({ workloads: [], services: [bare, stolen], waypoints: [] });
  assert.equal(both.serviceByVip(both.virtualAddresses(bare)?.v4 ?? ip("0.0.0.0"), "out"), bare);
});
