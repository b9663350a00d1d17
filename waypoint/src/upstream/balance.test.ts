import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { ip } from "@culvert/test/support/fixtures.ts";
import { SELF, snapshot, service, servicePort, waypointInstance, workload } from "../mesh-fixtures.ts";
import { EndpointGroup } from "./balance.ts";
import {
  endpointContext,
  EndpointLoads,
  serviceEndpoints,
  workloadEndpoint,
  type EndpointContext,
} from "./endpoints.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";

function context(workloads: readonly Workload[], loads: EndpointLoads = new EndpointLoads()): EndpointContext {
  const { directory } = snapshot({ workloads, services: [service("default/reviews")] });
  return endpointContext(directory, SELF, loads);
}

function group(workloads: readonly Workload[], loads?: EndpointLoads): EndpointGroup {
  const endpoints = serviceEndpoints(context(workloads, loads), service("default/reviews"), servicePort(), undefined);
  return new EndpointGroup("default/reviews:9080", endpoints);
}

/** A generator that repeats evenly spread numbers, so that shares come out exact. */
function spread(step: number): () => number {
  let at = 0;
  return () => {
    at = (at + step) % 1;
    return at;
  };
}

function shares(endpoints: EndpointGroup, rounds: number): Record<string, number> {
  const counts: Record<string, number> = {};
  const random = spread(0.618_033_988_75);
  for (let i = 0; i < rounds; i++) {
    const picked = endpoints.pick([], random);
    const name = isFailure(picked) ? picked.code : picked.workload.name;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

test("an endpoint is every address of every healthy workload that has the port", () => {
  const { endpoints } = group([
    workload("default/reviews-1", "10.0.0.1", { addresses: [ip("10.0.0.1"), ip("fd00::1")] }),
    workload("default/reviews-2", "10.0.0.2", { healthy: false }),
    workload("default/reviews-3", "10.0.0.3", { protocol: "none", ports: new Map([["http", 8080]]) }),
    workload("default/ratings-1", "10.0.0.4"),
    workload("other/reviews-1", "10.0.0.5"),
  ]);
  assert.deepEqual(
    endpoints.map(({ address, reach, weight }) => [
      address,
      reach.kind === "tunnel" ? reach.authority : "plain",
      weight,
    ]),
    [
      ["10.0.0.1:9080", "10.0.0.1:9080", 0.5],
      ["[fd00::1]:9080", "[fd00::1]:9080", 0.5],
      ["10.0.0.3:8080", "plain", 1],
    ],
  );
  assert.deepEqual(endpoints[0]?.reach, {
    kind: "tunnel",
    ip: "10.0.0.1",
    port: 15008,
    authority: "10.0.0.1:9080",
    expected: "spiffe://cluster.local/ns/default/sa/reviews",
  });
});

test("an instance of the waypoint itself is never a destination", () => {
  const self = waypointInstance("10.0.0.9");
  const instance = { ...self, labels: new Map([...self.labels, ["app", "reviews"]]) };
  assert.deepEqual(group([instance]).endpoints, []);
  const disguised = workload("default/reviews-1", "10.0.0.9");
  assert.deepEqual(group([self, disguised]).endpoints, [], "nor is what hides behind its tunnel port");
  const refused = workloadEndpoint(context([instance]), instance, ip("10.0.0.9"), 9080, "http");
  assert.ok(isFailure(refused) && refused.code === "SELF_CALL");
});

test("without an endpoint, or with all of them tried, there is no healthy upstream", () => {
  const none = group([]).pick([], Math.random);
  assert.ok(isFailure(none) && none.code === "NO_HEALTHY_UPSTREAM");
  const two = group([workload("default/reviews-1", "10.0.0.1"), workload("default/reviews-2", "10.0.0.2")]);
  const first = two.pick([], () => 0);
  assert.ok(!isFailure(first));
  const second = two.pick([first], () => 0);
  assert.ok(!isFailure(second) && second !== first, "an endpoint that was tried is left out");
  const third = two.pick([first, second], () => 0);
  assert.ok(isFailure(third) && third.code === "NO_HEALTHY_UPSTREAM");
});

test("idle endpoints share by weight", () => {
  const even = group([1, 2, 3, 4].map((n) => workload(`default/reviews-${n}`, `10.0.0.${n}`)));
  for (const count of Object.values(shares(even, 4_000))) assert.ok(Math.abs(count - 1_000) < 60, String(count));
  const heavy = group([
    workload("default/reviews-1", "10.0.0.1", { weight: 3 }),
    workload("default/reviews-2", "10.0.0.2"),
  ]);
  const counts = shares(heavy, 4_000);
  assert.ok(Math.abs((counts["reviews-1"] ?? 0) - 3_000) < 100, JSON.stringify(counts));
});

test("of two drawn, the less loaded for its weight is taken", () => {
  const two = group([
    workload("default/reviews-1", "10.0.0.1", { weight: 2 }),
    workload("default/reviews-2", "10.0.0.2"),
  ]);
  const [big, small] = two.endpoints;
  assert.ok(big !== undefined && small !== undefined);
  big.load.inFlight = 3;
  small.load.inFlight = 1;
  assert.deepEqual(shares(two, 100), { "reviews-2": 100 });
  big.load.inFlight = 1;
  assert.deepEqual(shares(two, 100), { "reviews-1": 100 });
});

test("load survives a new snapshot, and is forgotten with its endpoint", () => {
  const before = new EndpointLoads();
  const old = group([workload("default/reviews-1", "10.0.0.1")], before).endpoints[0];
  assert.ok(old !== undefined);
  old.load.inFlight = 7;
  const next = new EndpointLoads(before);
  const same = group([workload("default/reviews-1", "10.0.0.1")], next).endpoints[0];
  assert.equal(same?.load, old.load);
  const gone = new EndpointLoads(new EndpointLoads(before));
  assert.equal(gone.of(old.key).inFlight, 0);
});
