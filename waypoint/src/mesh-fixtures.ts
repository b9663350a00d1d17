// For tests: a mesh with `default/waypoint` before its services, with as little written as a case needs.
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import type { AuthorizationPolicy } from "@culvert/shared/policy/authorization.ts";
import type { DirectoryContents } from "@culvert/shared/workload/directory.ts";
import type { Service, ServicePort, Waypoint, Workload } from "@culvert/shared/workload/workload.ts";
import {
  id,
  policy as usualPolicy,
  service as usualService,
  snapshot as usualSnapshot,
  TRUST_DOMAIN,
  waypoint,
  workload as usualWorkload,
} from "@culvert/test/support/fixtures.ts";
import type { WaypointSelf } from "./mesh/destination.ts";

export const WAYPOINT: Waypoint = waypoint("default/waypoint");

export const SELF: WaypointSelf = {
  gateway: { namespace: "default", name: "waypoint" },
  id: id("default/waypoint"),
  trustDomain: TRUST_DOMAIN,
  aliases: new Set(),
  place: { addresses: [], port: 15008 },
  pathNormalization: "base",
};

/** A healthy workload `namespace/name` of which label `app` and account are the name up to its last `-`. */
export function workload(uid: string, address: string, more: Partial<Workload> = {}): Workload {
  const app = uid.replace(/^.*\//, "").replace(/-[^-]*$/, "");
  return { ...usualWorkload(uid, { serviceAccount: app, addresses: [address], labels: { app } }), ...more };
}

/** A service `namespace/name` that selects `app: name`, with port 9080 of appProtocol http, behind `default/waypoint`. */
export function service(uid: string, more: Partial<Service> = {}): Service {
  return { ...usualService(uid, { ports: [servicePort()], waypoint: SELF.gateway }), ...more };
}

export function servicePort(more: Partial<ServicePort> = {}): ServicePort {
  return { name: "http", port: 9080, targetPort: 9080, appProtocol: "http", ...more };
}

/** An instance of `default/waypoint`. */
export function waypointInstance(address: string): Workload {
  return workload("default/waypoint-1", address, {
    labels: new Map([["gateway.networking.k8s.io/gateway-name", "waypoint"]]),
  });
}

export type MeshParts = Partial<
  DirectoryContents & Pick<Snapshot, "policies" | "routes" | "streamRoutes" | "backendTls">
>;

let versions = 0;

export function snapshot(parts: MeshParts): Snapshot {
  const { policies = [], routes = [], streamRoutes = [], backendTls = [], ...contents } = parts;
  versions += 1;
  const about = { version: versions, policies, routes, streamRoutes, backendTls };
  return usualSnapshot({ waypoints: [WAYPOINT], ...contents }, about);
}

/** A policy `default/name` on the service `reviews`. */
export function policy(name: string, more: Partial<AuthorizationPolicy> = {}): AuthorizationPolicy {
  return usualPolicy(name, { target: { kind: "refs", refs: [{ kind: "Service", name: "reviews" }] }, ...more });
}
