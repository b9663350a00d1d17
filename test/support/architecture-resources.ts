// Pure. The mesh of `architecture.ts` as resources: who is where, the instances that a placement wants, the route and the policy.
import type { Placement } from "@culvert/shared/workload/workload.ts";
import { nodeLabel, placedGateway, placedInstance, type PlacedInstance } from "./placed-waypoint.ts";
import { httpRoute, service, workloadEntry, type Resource } from "./resources.ts";

/** The four placements of a waypoint. */
export const PLACEMENTS: readonly Placement[] = ["sidecar", "node", "service-account", "remote"];

/** Pods by the node that they run on. */
export const NODES = {
  client: "node-1",
  "reviews-1": "node-1",
  "reviews-2": "node-2",
  "ratings-1": "node-2",
  "on-node-1": "node-1",
  "on-node-2": "node-2",
  "of-account": "node-2",
  anywhere: "node-2",
} as const;
export type Pod = keyof typeof NODES;

/** Port of the applications. */
export const APP_PORT = 8080;
/** Ports of the client's explicit listeners: `reviews:80`, `ratings:80`. */
export const TO_REVIEWS = 9001;
export const TO_RATINGS = 9002;
/** What the policy of `reviews` denies. */
export const DENIED_PATH = "/denied";
/** What the route of `reviews` sends to `ratings`. */
export const RATINGS_PATH = "/ratings";

/** An instance of the waypoint, and the pod that it is in. */
interface InstancePlan extends PlacedInstance {
  readonly pod: Pod;
}

/** The instances that a placement wants. Names tell them apart in logs and resources. */
export const INSTANCES: Readonly<Record<Placement, readonly InstancePlan[]>> = {
  sidecar: [
    { name: "beside-1", pod: "reviews-1", account: "reviews", isBeside: true },
    { name: "beside-2", pod: "reviews-2", account: "reviews", isBeside: true },
  ],
  node: [
    { name: "node-1", pod: "on-node-1", account: "waypoint", isBeside: false },
    { name: "node-2", pod: "on-node-2", account: "waypoint", isBeside: false },
  ],
  "service-account": [{ name: "account-1", pod: "of-account", account: "reviews", isBeside: false }],
  remote: [{ name: "remote-1", pod: "anywhere", account: "waypoint", isBeside: false }],
};

/** Where a pod is. */
export interface Place {
  readonly address: string;
  /** Command in front of what runs there. */
  readonly prefix: readonly string[];
}

/** What of the resources a test changes. */
export interface Said {
  readonly placement: Placement;
  readonly withoutLocal: "use-another" | "refuse" | undefined;
  /** The placements whose instances are in the resources. */
  readonly listed: readonly Placement[];
  /** Instances that are left out nevertheless. */
  readonly without: readonly string[];
  /** Pods that name no node. */
  readonly nodeless: readonly Pod[];
  readonly more: readonly Resource[];
}

/** The resources of the mesh. */
export function resourcesOf(said: Said, places: Readonly<Record<Pod, Place>>): Resource[] {
  const { placement, withoutLocal, listed, without, nodeless, more } = said;
  const node = (pod: Pod): Readonly<Record<string, string>> => (nodeless.includes(pod) ? {} : nodeLabel(NODES[pod]));
  const entry = (pod: Pod, account: string): Resource =>
    workloadEntry(pod, places[pod].address, { serviceAccount: account, app: account, labels: node(pod) });
  const ports = [{ name: "http", port: 80, targetPort: APP_PORT, appProtocol: "http" }];
  return [
    placedGateway(
      placement,
      "reviews",
      withoutLocal === undefined ? {} : { "culvert.dev/without-local-instance": withoutLocal },
    ),
    service("reviews", ports, {
      labels: { "istio.io/use-waypoint": "waypoint" },
      annotations: { "culvert.dev/require-waypoint": "true" },
    }),
    service("ratings", ports),
    httpRoute("reviews", "reviews", [
      {
        matches: [{ path: { type: "PathPrefix", value: RATINGS_PATH } }],
        backendRefs: [{ name: "ratings", port: 80 }],
      },
      { backendRefs: [{ name: "reviews", port: 80 }] },
    ]),
    {
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name: "reviews", namespace: "default" },
      spec: {
        targetRefs: [{ kind: "Service", group: "", name: "reviews" }],
        action: "DENY",
        rules: [{ to: [{ operation: { paths: [DENIED_PATH] } }] }],
      },
    },
    entry("client", "client"),
    entry("reviews-1", "reviews"),
    entry("reviews-2", "reviews"),
    entry("ratings-1", "ratings"),
    ...listed
      .flatMap((each) => INSTANCES[each])
      .filter(({ name }) => !without.includes(name))
      .map((instance) => placedInstance(instance, places[instance.pod].address, node(instance.pod))),
    ...more,
  ];
}
