import assert from "node:assert/strict";
import { test } from "node:test";
import { waypoint, workload } from "@culvert/test/support/fixtures.ts";
import { Directory } from "./directory.ts";
import { placementDoubts } from "./placement-doubts.ts";
import type { Waypoint, Workload } from "./workload.ts";

function instance(name: string, parts: Parameters<typeof workload>[1]): Workload {
  return workload(`shop/${name}`, { labels: { "gateway.networking.k8s.io/gateway-name": "w" }, ...parts });
}

function doubts(parts: Partial<Waypoint>, ...workloads: readonly Workload[]): string[] {
  return placementDoubts(new Directory({ workloads, services: [], waypoints: [waypoint("shop/w", parts)] }));
}

const app = workload("shop/reviews-1", { addresses: ["10.0.0.1"] });
const beside = instance("w-1", { addresses: ["10.0.0.1"] });
const alone = instance("w-2", { addresses: ["10.0.0.2"] });

test("a sidecar stands beside somebody who is no instance", () => {
  assert.deepEqual(doubts({ placement: "sidecar" }, app, beside), []);
  assert.deepEqual(doubts({ placement: "sidecar" }, app, beside, alone), [
    "Gateway shop/w: placement sidecar, and no other workload has the address of shop/w-2",
  ]);
  assert.deepEqual(doubts({ placement: "sidecar" }, app, instance("w-3", { addresses: [] })), []);
  assert.deepEqual(doubts({ placement: "remote" }, app, alone), []);
});

test("instances on nodes say which", () => {
  assert.deepEqual(doubts({ placement: "node", withoutLocal: "refuse" }, alone), [
    "Gateway shop/w: placement node, and no instance has the label kubernetes.io/hostname: nobody is served",
  ]);
  assert.deepEqual(doubts({ placement: "node" }, alone, instance("w-1", { node: "a" })), []);
  assert.deepEqual(doubts({ placement: "node" }), []);
});
