// For tests: the two ends of some traffic.
import type { Workload } from "../workload/workload.ts";
import type { Traffic } from "./traffic-labels.ts";

/** A workload with these labels. */
export function workload(name: string, labels: Record<string, string> = {}): Workload {
  return {
    uid: `default/${name}`,
    namespace: "default",
    name,
    serviceAccount: name,
    addresses: [],
    hostname: undefined,
    labels: new Map(Object.entries(labels)),
    protocol: "hbone",
    hbonePort: 15_008,
    ports: new Map(),
    weight: 1,
    healthy: true,
    waypoint: undefined,
    requireWaypoint: false,
    node: undefined,
  };
}

/** From a client to the reviews service, as the server's proxy reports it. */
export function traffic(more: Partial<Traffic> = {}): Traffic {
  return {
    reporter: "destination",
    source: {
      workload: workload("client-1", { app: "client", version: "v1" }),
      principal: "spiffe://cluster.local/ns/default/sa/client",
    },
    destination: {
      workload: workload("reviews-1", { "service.istio.io/canonical-name": "reviews" }),
      principal: "spiffe://cluster.local/ns/default/sa/reviews",
    },
    service: { hostname: "reviews.default.svc.cluster.local", name: "reviews", namespace: "default" },
    security: "mutual_tls",
    ...more,
  };
}
