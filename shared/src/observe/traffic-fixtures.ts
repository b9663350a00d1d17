// For tests: the two ends of some traffic.
import { workload } from "@culvert/test/support/fixtures.ts";
import type { Traffic } from "./traffic-labels.ts";

/** From a client to the reviews service, as the server's proxy reports it. */
export function traffic(more: Partial<Traffic> = {}): Traffic {
  return {
    reporter: "destination",
    source: {
      workload: workload("client-1", { labels: { app: "client", version: "v1" } }),
      principal: "spiffe://cluster.local/ns/default/sa/client",
    },
    destination: {
      workload: workload("reviews-1", { labels: { "service.istio.io/canonical-name": "reviews" } }),
      principal: "spiffe://cluster.local/ns/default/sa/reviews",
    },
    service: { hostname: "reviews.default.svc.cluster.local", name: "reviews", namespace: "default" },
    security: "mutual_tls",
    ...more,
  };
}
