import assert from "node:assert/strict";
import { test } from "node:test";
import { parseText } from "../resources/text-fixtures.ts";
import { titleOf } from "../resources/title.ts";
import { heldResources } from "./held-resources.ts";

const MESH = ["reviews", "ratings"].map(
  (name, index) => `---
apiVersion: v1
kind: Service
metadata: {name: ${name}, namespace: shop, labels: {istio.io/use-waypoint: ${name}-waypoint}}
spec: {selector: {app: ${name}}, ports: [{port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}-1, namespace: shop, labels: {app: ${name}}}
spec: {address: 10.0.0.${index + 1}, serviceAccount: ${name}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ${name}, namespace: shop}
spec: {parentRefs: [{kind: Service, group: "", name: ${name}}], rules: [{}]}
`,
);

function gateway(name: string, annotations: string): string {
  return `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: ${name}-waypoint, namespace: shop, annotations: {${annotations}}}
spec: {gatewayClassName: culvert-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
`;
}

const all = parseText(
  [
    ...MESH,
    gateway("reviews", "culvert.dev/placement: service-account, istio.io/for-service-account: reviews"),
    gateway("ratings", "culvert.dev/placement: remote"),
  ].join(""),
);

test("a waypoint of one account holds nothing of what another one serves", () => {
  const held = heldResources(all, { namespace: "shop", name: "reviews-waypoint" });
  const titles = held.resources.map(titleOf).toSorted();
  assert.deepEqual(titles, [
    "Gateway shop/reviews-waypoint",
    "HTTPRoute shop/reviews",
    "Service shop/reviews",
    "WorkloadEntry shop/reviews-1",
  ]);
});

test("any other holds what its folder has", () => {
  assert.equal(heldResources(all, { namespace: "shop", name: "ratings-waypoint" }), all);
  assert.equal(heldResources(all, { namespace: "shop", name: "nobody" }), all);
});
