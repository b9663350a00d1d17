// Which instance of a waypoint a connection takes, by the placement of its Gateway.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Service, Waypoint, Workload } from "@culvert/shared/workload/workload.ts";
import { id, ip, service, serviceEntry, snapshot, waypoint, workload } from "@culvert/test/support/fixtures.ts";
import { explainOutbound } from "../explain.ts";
import { deriveState, type UproxyState } from "../state.ts";
import type { Destination, Endpoint } from "./hop.ts";
import { nearestOf } from "./nearness.ts";
import { prewarmTargets } from "./prewarm.ts";
import { resolve } from "./resolve.ts";

const behind = { waypoint: { namespace: "default", name: "w" } };

/** Nodes are `node-` and the third number of an address. */
function nodeOf(address: string): string {
  return `node-${address.split(".")[2]}`;
}

function pod(name: string, address: string, parts: Parameters<typeof workload>[1] = {}): Workload {
  const app = name.split("-")[0] ?? name;
  const labels = { app, ...parts.labels };
  return workload(name, { serviceAccount: app, node: nodeOf(address), ...parts, addresses: [address], labels });
}

function instance(name: string, address: string, parts: Parameters<typeof workload>[1] = {}): Workload {
  const labels = { "gateway.networking.k8s.io/gateway-name": "w" };
  return workload(name, { hbonePort: 25008, node: nodeOf(address), ...parts, addresses: [address], labels });
}

interface Case {
  readonly placed: Partial<Waypoint>;
  readonly workloads: readonly Workload[];
  readonly services?: readonly Service[];
}

const client = pod("client", "10.0.1.1");

function stateOf({ placed, workloads, services = [service("reviews", behind)] }: Case, own = client): UproxyState {
  const mesh = snapshot({ workloads: [own, ...workloads], services, waypoints: [waypoint("w", placed)] });
  const svid = { id: id(`default/${own.serviceAccount}`) };
  const identity = { version: 1, svid, bundles: new Map(), aliases: new Set() } as unknown as Identity;
  return deriveState(mesh, identity, { configured: { namespace: "default", name: own.name }, addresses: [] });
}

function names(of: readonly Endpoint[]): string {
  return of.map(({ workload: { name, weight } }) => (weight === 1 ? name : `${name}*${weight}`)).join(" ");
}

/** `name*weight` of what may be taken, those that go first before a bar; or the code of the refusal. */
function taken(given: Case, destination: Partial<Destination> = {}, own = client): string {
  const state = stateOf(given, own);
  const asked = { kind: "name", host: "reviews", port: 80, ...destination } as Destination;
  const hop = resolve(state.snapshot, state.self, asked, "refuse");
  if (isFailure(hop)) return hop.code;
  assert.ok(hop.kind === "tunnel");
  const first = nearestOf(state, hop);
  const later = hop.endpoints.filter((endpoint) => !first.includes(endpoint));
  return later.length === 0 ? names(first) : `${names(first)} | ${names(later)}`;
}

const reviews = [pod("reviews-1", "10.0.2.1"), pod("reviews-2", "10.0.3.1", { weight: 3 })] as const;

describe("sidecar", () => {
  const placed = { placement: "sidecar" } as const;
  const beside = [instance("beside-1", "10.0.2.1"), instance("beside-2", "10.0.3.1")] as const;

  test("each endpoint by the instance in its own pod, with the weight of the endpoint", () => {
    assert.equal(taken({ placed, workloads: [...reviews, ...beside] }), "beside-1 beside-2*3");
  });

  test("a pod without a healthy instance cannot be reached", () => {
    assert.equal(taken({ placed, workloads: [...reviews, beside[0]] }), "beside-1");
    assert.equal(taken({ placed, workloads: [...reviews, beside[0], { ...beside[1], healthy: false }] }), "beside-1");
    assert.equal(taken({ placed, workloads: reviews }), "WAYPOINT_UNAVAILABLE");
    assert.equal(taken({ placed, workloads: [...reviews, instance("far", "10.0.9.1")] }), "WAYPOINT_UNAVAILABLE");
  });

  test("a pod whose application is not healthy, or has not the port, is left out with its instance", () => {
    assert.equal(taken({ placed, workloads: [reviews[0], { ...reviews[1], healthy: false }, ...beside] }), "beside-1");
    const ports = [{ name: "http", port: 80, targetPort: "web", appProtocol: "http" }] as const;
    const named = { ...reviews[0], ports: new Map([["web", 8080]]) };
    const given = {
      placed,
      workloads: [named, reviews[1], ...beside],
      services: [service("reviews", { ports, ...behind })],
    };
    assert.equal(taken(given), "beside-1");
  });

  test("workloads of one address share the instance there", () => {
    const neighbour = pod("reviews-3", "10.0.2.1", { hbonePort: 15018 });
    assert.equal(taken({ placed, workloads: [reviews[0], neighbour, ...beside] }), "beside-1*2");
  });

  test("what the service prefers is seen from the endpoint", () => {
    const services = [service("reviews", { prefers: "same-node", ...behind })];
    const near = pod("reviews-4", "10.0.1.7");
    const unlabelled = instance("beside-4", "10.0.1.7", { node: undefined });
    assert.equal(
      taken({ placed, services, workloads: [...reviews, near, ...beside, unlabelled] }),
      "beside-4 | beside-1 beside-2*3",
    );
  });

  test("the address of a workload leads to its own instance, whatever stands first in the resources", () => {
    const own = pod("reviews-1", "10.0.2.1", behind);
    const there = { kind: "ip", ip: ip("10.0.2.1"), port: 8080 } as const;
    assert.equal(taken({ placed, workloads: [...beside, own] }, there), "beside-1");
    assert.equal(taken({ placed, workloads: [beside[1], own] }, there), "WAYPOINT_UNAVAILABLE");
  });

  test("what lies outside is reached by the instance in the caller's own pod", () => {
    const services = [serviceEntry("out", "api.example.com", {}, behind)];
    const own = instance("own", "10.0.1.1");
    const there = { host: "api.example.com", port: 443 };
    assert.equal(taken({ placed, services, workloads: [own, ...beside] }, there), "own");
    assert.equal(taken({ placed, services, workloads: beside }, there), "WAYPOINT_UNAVAILABLE");
  });

  test("endpoints that an internal ServiceEntry names have pods as well", () => {
    const place = { location: "internal", endpoints: [reviews[0], reviews[1]] } as const;
    const services = [serviceEntry("inside", "reviews.example.com", place, behind)];
    const given = { placed, services, workloads: beside };
    assert.equal(taken(given, { host: "reviews.example.com", port: 443 }), "beside-1 beside-2*3");
  });
});

describe("node", () => {
  const instances = [instance("near", "10.0.1.9"), instance("far-2", "10.0.2.9"), instance("far-3", "10.0.3.9")];
  const nowhere = pod("client", "10.0.1.1", { node: undefined });

  test("the own node's first, the others when none of them can be", () => {
    const placed = { placement: "node" } as const;
    assert.equal(taken({ placed, workloads: [...reviews, ...instances] }), "near | far-2 far-3");
    assert.equal(taken({ placed, workloads: [...reviews, ...instances.slice(1)] }), "far-2 far-3");
    assert.equal(taken({ placed, workloads: [...reviews, ...instances] }, {}, nowhere), "near far-2 far-3");
  });

  test("or the own node's alone", () => {
    const placed = { placement: "node", withoutLocal: "refuse" } as const;
    assert.equal(taken({ placed, workloads: [...reviews, ...instances] }), "near");
    assert.equal(taken({ placed, workloads: [...reviews, ...instances.slice(1)] }), "WAYPOINT_UNAVAILABLE");
    assert.equal(taken({ placed, workloads: [...reviews, ...instances] }, {}, nowhere), "WAYPOINT_UNAVAILABLE");
    const unlabelled = instance("unlabelled", "10.0.2.9", { node: undefined });
    assert.equal(taken({ placed, workloads: [...reviews, unlabelled] }, {}, nowhere), "WAYPOINT_UNAVAILABLE");
  });

  test("only those of the own node are kept ready", () => {
    const listener = { to: { host: "reviews", port: 80 }, mode: 0o660, proxyProtocol: undefined, prewarm: true };
    const state = stateOf({ placed: { placement: "node" }, workloads: [...reviews, ...instances] });
    const targets = prewarmTargets(state, [{ ...listener, listen: { kind: "tcp", host: "127.0.0.1", port: 1 } }]);
    assert.deepEqual(
      targets.map(({ ip: address }) => address),
      ["10.0.1.9"],
    );
  });
});

test("service-account: only instances of the account", () => {
  const placed = { placement: "service-account", forServiceAccount: "reviews" } as const;
  const right = instance("right", "10.0.8.1", { serviceAccount: "reviews" });
  const wrong = instance("wrong", "10.0.8.2", { serviceAccount: "waypoint" });
  assert.equal(taken({ placed, workloads: [...reviews, wrong, right] }), "right");
  assert.equal(taken({ placed, workloads: [...reviews, wrong] }), "WAYPOINT_UNAVAILABLE");
});

test("waypoints of several placements that share traffic: each picks by its own", () => {
  const labels = { "gateway.networking.k8s.io/gateway-name": "n" };
  const onNode = (name: string, address: string): Workload =>
    workload(name, { addresses: [address], labels, node: nodeOf(address) });
  const weights = ["w", "n"].map((name) => ({ ref: { namespace: "default", name }, weight: 1 }));
  const mesh = snapshot({
    workloads: [client, ...reviews, instance("any", "10.0.4.1"), onNode("near", "10.0.1.9"), onNode("far", "10.0.2.9")],
    services: [service("reviews", behind)],
    waypoints: [waypoint("w", { shares: weights }), waypoint("n", { placement: "node" })],
  });
  const state: UproxyState = { ...stateOf({ placed: {}, workloads: [] }), snapshot: mesh };
  const hop = resolve(mesh, state.self, { kind: "name", host: "reviews", port: 80 }, "refuse");
  assert.ok(!isFailure(hop) && hop.kind === "tunnel" && hop.shares !== undefined);
  const first = hop.shares.map((share) => nearestOf(state, share).map(({ workload: { name } }) => name));
  assert.deepEqual(first, [["any"], ["near"]]);
});

describe("whom a workload that requires its waypoint lets in", () => {
  const own = pod("reviews-1", "10.0.2.1", { ...behind, requireWaypoint: true });
  const instances = [
    instance("beside", "10.0.2.1", { serviceAccount: "beside" }),
    instance("other", "10.0.3.1", { serviceAccount: "other" }),
    instance("account", "10.0.8.1", { serviceAccount: "reviews" }),
  ];
  const rows: [name: string, placed: Partial<Waypoint>, accounts: string[]][] = [
    ["sidecar: the one in its pod, none in another's", { placement: "sidecar" }, ["beside", "reviews"]],
    ["node: all", { placement: "node", withoutLocal: "refuse" }, ["beside", "other", "reviews"]],
    ["remote: all", {}, ["beside", "other", "reviews"]],
    [
      "service-account: all",
      { placement: "service-account", forServiceAccount: "reviews" },
      ["beside", "other", "reviews"],
    ],
    ["another account: nobody", { placement: "service-account", forServiceAccount: "other" }, []],
  ];
  for (const [name, placed, accounts] of rows) {
    test(name, () => {
      const state = stateOf({ placed, workloads: [...instances, pod("other-1", "10.0.3.1")] }, own);
      assert.deepEqual(
        [...(state.requiredCallers ?? [])],
        accounts.map((account) => id(`default/${account}`)),
      );
    });
  }
});

test("a waypoint in the own pod is not whom this uproxy stands beside, even with its account", () => {
  const own = pod("reviews-1", "10.0.2.1");
  const beside = instance("beside", "10.0.2.1", { serviceAccount: "reviews" });
  const mesh = snapshot({ workloads: [beside, own], services: [], waypoints: [waypoint("w")] });
  const svid = { id: id("default/reviews") };
  const identity = { version: 1, svid, bundles: new Map(), aliases: new Set() } as unknown as Identity;
  const state = deriveState(mesh, identity, { configured: undefined, addresses: [ip("10.0.2.1")] });
  assert.equal(isFailure(state.workload) ? state.workload.toString() : state.workload.name, "reviews-1");
});

function explained(given: Case): string {
  return String(explainOutbound(stateOf(given), "reviews:80", "refuse"));
}

test("an explanation says which placement, which instances, and why not the others", () => {
  const sidecar = explained({
    placed: { placement: "sidecar" },
    workloads: [...reviews, instance("beside", "10.0.2.1")],
  });
  assert.match(sidecar, /placement sidecar: the instance in the endpoint's own pod/);
  assert.match(sidecar, /instance default\/beside at 10\.0\.2\.1:25008, in the pod of default\/reviews-1, expecting /);
  assert.match(sidecar, /endpoint default\/reviews-2 has no healthy instance in its pod \(10\.0\.3\.1\): left out/);
  assert.match(sidecar, /=> the endpoint above, an instance of waypoint default\/w \(placement sidecar\)$/);
  const instances = [instance("near", "10.0.1.9"), instance("far", "10.0.2.9")];
  const near = explained({ placed: { placement: "node" }, workloads: instances });
  assert.match(near, /placement node: instances on the own node, node-1, others when none of them can be/);
  assert.match(near, /endpoint default\/far is farther/);
  const strict = explained({ placed: { placement: "node", withoutLocal: "refuse" }, workloads: instances.slice(1) });
  assert.match(strict, /instance default\/far is on node-2: left out/);
  assert.match(
    strict,
    /refused, WAYPOINT_UNAVAILABLE: .*no healthy instance on the own node node-1 \(placement node\)$/,
  );
});
