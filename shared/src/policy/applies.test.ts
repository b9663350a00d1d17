import assert from "node:assert/strict";
import { it } from "node:test";
import { policiesForWaypoint, policiesForWorkload } from "./applies.ts";
import type { AuthorizationPolicy, PolicyTarget } from "./authorization.ts";

function policy(namespace: string, name: string, target: PolicyTarget): AuthorizationPolicy {
  const uid = `${namespace}/${name}`;
  return { uid, namespace, name, action: "ALLOW", dryRun: false, target, rules: [], notUnderstood: undefined };
}

const selector = (labels: Record<string, string>): PolicyTarget => ({
  kind: "selector",
  labels: new Map(Object.entries(labels)),
});

const POLICIES: readonly AuthorizationPolicy[] = [
  policy("istio-system", "mesh", { kind: "namespace" }),
  policy("istio-system", "mesh-reviews", selector({ app: "reviews" })),
  policy("default", "namespace", { kind: "namespace" }),
  policy("default", "reviews", selector({ app: "reviews" })),
  policy("default", "reviews-v2", selector({ app: "reviews", version: "v2" })),
  policy("other", "namespace", { kind: "namespace" }),
  policy("other", "reviews", selector({ app: "reviews" })),
  policy("default", "on-service", { kind: "refs", refs: [{ kind: "Service", name: "reviews" }] }),
  policy("default", "on-gateway", { kind: "refs", refs: [{ kind: "Gateway", name: "waypoint" }] }),
  policy("default", "on-entry", { kind: "refs", refs: [{ kind: "ServiceEntry", name: "reviews" }] }),
  policy("other", "on-service", { kind: "refs", refs: [{ kind: "Service", name: "reviews" }] }),
];

const uids = (policies: readonly AuthorizationPolicy[]): readonly string[] => policies.map((one) => one.uid);

it("chooses for a workload by namespace, root namespace and selector, never by reference", () => {
  const reviews = {
    namespace: "default",
    labels: new Map([
      ["app", "reviews"],
      ["version", "v1"],
    ]),
  };
  assert.deepEqual(uids(policiesForWorkload(POLICIES, reviews)), [
    "istio-system/mesh",
    "istio-system/mesh-reviews",
    "default/namespace",
    "default/reviews",
  ]);
  const plain = { namespace: "default", labels: new Map<string, string>() };
  assert.deepEqual(uids(policiesForWorkload(POLICIES, plain)), ["istio-system/mesh", "default/namespace"]);
});

it("takes another root namespace when told", () => {
  const workload = { namespace: "default", labels: new Map<string, string>() };
  assert.deepEqual(uids(policiesForWorkload(POLICIES, workload, "other")), ["default/namespace", "other/namespace"]);
});

it("chooses for a waypoint by references of the same namespace only", () => {
  const gateway = { namespace: "default", name: "waypoint" };
  const service = { namespace: "default", name: "reviews", entry: undefined };
  assert.deepEqual(uids(policiesForWaypoint(POLICIES, { gateway, service })), [
    "default/on-service",
    "default/on-gateway",
  ]);
  assert.deepEqual(uids(policiesForWaypoint(POLICIES, { gateway, service: undefined })), ["default/on-gateway"]);
  assert.deepEqual(uids(policiesForWaypoint(POLICIES, { gateway, service: { ...service, namespace: "other" } })), [
    "default/on-gateway",
    "other/on-service",
  ]);
  const host = { namespace: "default", name: "reviews.example.com", entry: { name: "reviews" } };
  assert.deepEqual(uids(policiesForWaypoint(POLICIES, { gateway, service: host })), [
    "default/on-gateway",
    "default/on-entry",
  ]);
  assert.deepEqual(uids(policiesForWaypoint(POLICIES, { gateway: { ...gateway, name: "x" }, service: undefined })), []);
});
