import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";
import { id, ip, service, snapshot, TRUST_DOMAIN, waypoint, workload } from "@culvert/test/support/fixtures.ts";
import type { Destination, Hop } from "./hop.ts";
import { resolve } from "./resolve.ts";

const gatewayLabel = (name: string): Record<string, string> => ({ "gateway.networking.k8s.io/gateway-name": name });
const reviews = { labels: { app: "reviews" }, serviceAccount: "reviews" };
const workloads: readonly Workload[] = [
  workload("reviews-1", { ...reviews, addresses: ["10.0.0.5"], network: "one" }),
  workload("reviews-2", { ...reviews, addresses: ["10.0.0.6"], network: "two", weight: 3 }),
  workload("reviews-3", { ...reviews, addresses: ["10.0.0.7"], network: "two", serviceAccount: "other" }),
  workload("reviews-4", { ...reviews, addresses: ["10.0.0.8"], network: "three" }),
  workload("same-address", { addresses: ["10.0.0.5"], network: "two" }),
  workload("far", { addresses: ["10.0.0.9"], network: "two" }),
  workload("silent", { addresses: ["10.0.0.10"], labels: { app: "silent" } }),
  workload("gate-1", { addresses: ["192.0.2.1", "192.0.2.2"], labels: gatewayLabel("gate"), serviceAccount: "gate" }),
  workload("w-1", { addresses: ["10.0.0.20"], labels: gatewayLabel("w"), network: "two" }),
];
const mesh = snapshot({
  workloads,
  services: [
    service("reviews"),
    service("silent"),
    service("guarded", { waypoint: { namespace: "default", name: "w" }, vips: ["10.96.0.1"] }),
  ],
  waypoints: [waypoint("w")],
  gateways: [
    { namespace: "default", name: "gate", network: "two" },
    { namespace: "default", name: "gone", network: "three" },
  ],
});

function hop(destination: Destination, network: string, steps: string[] = []): Hop {
  const self = { namespace: "default", trustDomain: TRUST_DOMAIN, network };
  const found = resolve(mesh, self, destination, "refuse", (step) => steps.push(step));
  assert.ok(!isFailure(found), isFailure(found) ? found.toString() : "");
  return found;
}

const named = (host: string): Destination => ({ kind: "name", host, port: 80 });

test("workloads of another network are reached through its gateway, and those of the own one straight", () => {
  const steps: string[] = [];
  const found = hop(named("reviews"), "one", steps);
  assert.ok(found.kind === "tunnel");
  const [near, gate, second, ...rest] = found.endpoints;
  assert.deepEqual(rest, []);
  assert.deepEqual([near.ip, near.authority, near.via], ["10.0.0.5", "10.0.0.5:8080", undefined]);
  const authority = "reviews.default.svc.cluster.local:80";
  assert.deepEqual([gate?.ip, gate?.port, gate?.authority], ["192.0.2.1", 15008, authority]);
  assert.deepEqual(gate?.expected, [id("default/other"), id("default/reviews")]);
  assert.deepEqual(gate.via, { expected: [id("default/gate")], authority, peers: 2 });
  // Two addresses stand for two workloads of weights 3 and 1.
  assert.deepEqual([gate.workload.weight, second?.workload.weight], [2, 2]);
  assert.ok(steps.includes("no gateway with a healthy instance leads into network three: default/reviews-4 left out"));
  assert.ok(
    steps.includes(`network two through gateway default/gate-1 at 192.0.2.1:15008, expecting ${id("default/gate")}`),
    steps.join("\n"),
  );
});

/** How many endpoints a service has, all of them straight. */
function straight(host: string, network: string): number {
  const found = hop(named(host), network);
  assert.ok(found.kind === "tunnel");
  assert.ok(found.endpoints.every((endpoint) => endpoint.via === undefined));
  return found.endpoints.length;
}

test("who does not say its network, or is asked by one that does not, is reached as if it were here", () => {
  assert.equal(straight("silent", "one"), 1);
  assert.equal(straight("reviews", ""), 4);
});

/** The workload at an address, or the code of the refusal. */
function at(address: string, network: string): string {
  const self = { namespace: "default", trustDomain: TRUST_DOMAIN, network };
  const found = resolve(mesh, self, { kind: "ip", ip: ip(address), port: 80 }, "passthrough");
  if (isFailure(found)) return found.code;
  return found.kind === "tunnel" ? found.endpoints[0].workload.name : found.kind;
}

test("an address means the workload of the own network, and leads to none of another", () => {
  assert.equal(at("10.0.0.5", "one"), "reviews-1");
  assert.equal(at("10.0.0.5", "two"), "same-address");
  assert.equal(at("10.0.0.9", "two"), "far");
  assert.equal(at("10.0.0.9", "one"), "NO_HEALTHY_UPSTREAM");
});

test("a waypoint of another network is asked for the service by its name", () => {
  const found = hop(named("guarded"), "one");
  assert.ok(found.kind === "tunnel");
  assert.equal(found.waypoint?.name, "w");
  const [first] = found.endpoints;
  assert.deepEqual([first.ip, first.authority], ["192.0.2.1", "guarded.default.svc.cluster.local:80"]);
  assert.deepEqual(first.expected, [id("default/w-1")]);
});
