import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { waypointOf, type Labels, type WaypointSubject } from "./waypoint-of.ts";
import type { WaypointFor } from "./workload.ts";

function labels(entries: Record<string, string>): Labels {
  return new Map(Object.entries(entries));
}

const use = (name: string, namespace?: string): Record<string, string> => ({
  "istio.io/use-waypoint": name,
  ...(namespace === undefined ? {} : { "istio.io/use-waypoint-namespace": namespace }),
});

/** The waypoint of a destination in namespace `shop`, as `namespace/name`. */
function answer(
  kind: WaypointSubject["kind"],
  own: Record<string, string>,
  ofNamespace: Record<string, string> | undefined,
  serves: Record<string, WaypointFor>,
): string | undefined {
  const namespaceLabels = ofNamespace === undefined ? undefined : labels(ofNamespace);
  const known = new Map(Object.entries(serves));
  const ref = waypointOf({ kind, namespace: "shop", labels: labels(own), namespaceLabels }, (gateway) =>
    known.get(`${gateway.namespace}/${gateway.name}`),
  );
  return ref === undefined ? undefined : `${ref.namespace}/${ref.name}`;
}

describe("waypointOf", () => {
  const serves: Record<string, WaypointFor> = {
    "shop/services": "service",
    "shop/workloads": "workload",
    "shop/everything": "all",
    "shop/nothing": "none",
    "infra/shared": "service",
  };
  const rows: [
    string,
    WaypointSubject["kind"],
    Record<string, string>,
    Record<string, string> | undefined,
    string | undefined,
  ][] = [
    ["no label", "service", {}, {}, undefined],
    ["no Namespace resource", "service", {}, undefined, undefined],
    ["own label", "service", use("services"), undefined, "shop/services"],
    ["the namespace's label", "service", {}, use("services"), "shop/services"],
    ["the nearer label", "service", use("everything"), use("services"), "shop/everything"],
    ["none cuts", "service", use("none"), use("services"), undefined],
    ["none at the namespace", "service", {}, use("none"), undefined],
    ["another namespace", "service", use("shared", "infra"), undefined, "infra/shared"],
    ["another namespace, said by the Namespace", "service", {}, use("shared", "infra"), "infra/shared"],
    [
      "the namespace label counts beside the waypoint label only",
      "service",
      use("services"),
      use("x", "infra"),
      "shop/services",
    ],
    ["a waypoint for workloads", "service", use("workloads"), undefined, undefined],
    ["a waypoint for workloads, from a workload", "workload", use("workloads"), undefined, "shop/workloads"],
    ["a waypoint for services, from a workload", "workload", {}, use("services"), undefined],
    [
      "a nearer waypoint that does not serve the kind is not passed over",
      "workload",
      use("services"),
      use("workloads"),
      undefined,
    ],
    ["a waypoint for all", "workload", {}, use("everything"), "shop/everything"],
    ["a waypoint for none", "service", use("nothing"), undefined, undefined],
    ["an unknown Gateway still stands in the way", "service", use("missing"), undefined, "shop/missing"],
    ["also before workloads", "workload", {}, use("missing"), "shop/missing"],
    [
      "an instance of a waypoint has none",
      "workload",
      { "gateway.networking.k8s.io/gateway-name": "everything" },
      use("everything"),
      undefined,
    ],
  ];
  for (const [name, kind, own, ofNamespace, expected] of rows) {
    test(name, () => assert.equal(answer(kind, own, ofNamespace, serves), expected));
  }
});
