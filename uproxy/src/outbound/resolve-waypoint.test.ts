import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";
import { service, snapshot, TRUST_DOMAIN, waypoint, workload } from "@culvert/test/support/fixtures.ts";
import { resolve } from "./resolve.ts";

const ref = (name: string): { namespace: string; name: string } => ({ namespace: "default", name });

function instance(of: string, address: string, healthy = true): Workload {
  const labels = { "gateway.networking.k8s.io/gateway-name": of };
  return workload(`${of}-${address}`, { addresses: [address], labels, serviceAccount: of, healthy });
}

function addresses(endpoints: readonly { readonly ip: string }[]): string {
  return endpoints.map(({ ip }) => ip).join(" ");
}

/** `weight: addresses` of each share, or the addresses where there is one waypoint, or the code of the refusal. */
function shares(instances: readonly Workload[], known = ["main", "canary", "idle"]): string {
  const weights = [
    { ref: ref("main"), weight: 90 },
    { ref: ref("canary"), weight: 10 },
    { ref: ref("idle"), weight: 0 },
  ];
  const mesh = snapshot({
    workloads: instances,
    services: [service("reviews", { waypoint: ref("main") })],
    waypoints: known.map((name) => waypoint(name, name === "main" ? { shares: weights } : {})),
  });
  const self = { namespace: "default", trustDomain: TRUST_DOMAIN };
  const hop = resolve(mesh, self, { kind: "name", host: "reviews", port: 80 }, "passthrough");
  if (isFailure(hop)) return hop.code;
  assert.ok(hop.kind === "tunnel");
  if (hop.shares === undefined) return addresses(hop.endpoints);
  return hop.shares.map(({ weight, endpoints }) => `${weight}: ${addresses(endpoints)}`).join(", ");
}

const main = [instance("main", "10.0.0.1"), instance("main", "10.0.0.2")];
const canary = instance("canary", "10.0.0.3");
const idle = instance("idle", "10.0.0.4");

test("waypoints share the traffic of the one that is named, by their weights", () => {
  assert.equal(shares([...main, canary, idle]), "90: 10.0.0.1 10.0.0.2, 10: 10.0.0.3");
});

test("one without healthy instances or without Gateway has no share, and one of weight 0 takes nobody's place", () => {
  assert.equal(shares([...main, instance("canary", "10.0.0.3", false), idle]), "10.0.0.1 10.0.0.2");
  assert.equal(shares([...main, canary], ["main"]), "10.0.0.1 10.0.0.2");
  assert.equal(shares([canary, idle]), "10.0.0.3");
  assert.equal(shares([idle]), "WAYPOINT_UNAVAILABLE");
  assert.equal(shares([]), "WAYPOINT_UNAVAILABLE");
});
