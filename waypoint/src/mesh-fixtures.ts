// For tests: workloads, services and snapshots with as little written as a case needs.
import type { HttpRoute } from "@culvert/shared/config/http-route.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain, workloadId, type SpiffeId, type TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { parseIp, type Ip } from "@culvert/shared/net/ip.ts";
import type { AuthorizationPolicy } from "@culvert/shared/policy/authorization.ts";
import { Directory } from "@culvert/shared/workload/directory.ts";
import type { Service, ServicePort, Waypoint, Workload } from "@culvert/shared/workload/workload.ts";

/** The value of a result that must not be a failure. */
export function good<T>(result: T): Exclude<T, Failure | undefined> {
  if (isFailure(result) || result === undefined) throw new Error(`unexpected ${String(result)}`);
  return result as Exclude<T, Failure | undefined>;
}

export const TRUST_DOMAIN: TrustDomain = good(parseTrustDomain("cluster.local"));

export function ip(text: string): Ip {
  return good(parseIp(text));
}

/** `default/curl` → the SPIFFE ID of that account. */
export function id(account: string, trustDomain: TrustDomain = TRUST_DOMAIN): SpiffeId {
  const [namespace = "", serviceAccount = ""] = account.split("/");
  return good(workloadId(trustDomain, namespace, serviceAccount));
}

/** A healthy workload `namespace/name` with label `app` = the name up to its last `-`. */
export function workload(uid: string, address: string, more: Partial<Workload> = {}): Workload {
  const [namespace = "", name = ""] = uid.split("/");
  const app = name.replace(/-[^-]*$/, "");
  return {
    uid,
    namespace,
    name,
    serviceAccount: app,
    addresses: [ip(address)],
    hostname: undefined,
    labels: new Map([["app", app]]),
    protocol: "hbone",
    hbonePort: 15008,
    ports: new Map(),
    weight: 1,
    healthy: true,
    waypoint: undefined,
    requireWaypoint: false,
    node: undefined,
    ...more,
  };
}

/** A service `namespace/name` that selects `app: name`, with port 9080 of appProtocol http, behind `default/waypoint`. */
export function service(uid: string, more: Partial<Service> = {}): Service {
  const [namespace = "", name = ""] = uid.split("/");
  return {
    uid,
    namespace,
    name,
    hostname: `${name}.${namespace}.svc.cluster.local`,
    vips: [],
    ports: [servicePort()],
    selector: new Map([["app", name]]),
    waypoint: { namespace: "default", name: "waypoint" },
    requireWaypoint: false,
    ...more,
  };
}

export function servicePort(more: Partial<ServicePort> = {}): ServicePort {
  return { name: "http", port: 9080, targetPort: 9080, appProtocol: "http", ...more };
}

export const WAYPOINT: Waypoint = {
  namespace: "default",
  name: "waypoint",
  serves: "service",
  placement: "remote",
  port: 15008,
  addresses: [],
};

/** An instance of `default/waypoint`. */
export function waypointInstance(address: string): Workload {
  return workload("default/waypoint-1", address, {
    labels: new Map([["gateway.networking.k8s.io/gateway-name", "waypoint"]]),
  });
}

export interface MeshParts {
  readonly workloads?: readonly Workload[];
  readonly services?: readonly Service[];
  readonly waypoints?: readonly Waypoint[];
  readonly policies?: readonly AuthorizationPolicy[];
  readonly routes?: readonly HttpRoute[];
}

let versions = 0;

export function snapshot(parts: MeshParts): Snapshot {
  versions += 1;
  return {
    version: versions,
    directory: new Directory({
      workloads: parts.workloads ?? [],
      services: parts.services ?? [],
      waypoints: parts.waypoints ?? [WAYPOINT],
    }),
    policies: parts.policies ?? [],
    peerAuthentications: [],
    routes: parts.routes ?? [],
    problems: [],
  };
}

/** A policy `default/name` with one `targetRefs` entry. */
export function policy(name: string, more: Partial<AuthorizationPolicy> = {}): AuthorizationPolicy {
  return {
    uid: `default/${name}`,
    namespace: "default",
    name,
    action: "ALLOW",
    dryRun: false,
    target: { kind: "refs", refs: [{ kind: "Service", name: "reviews" }] },
    rules: [],
    notUnderstood: undefined,
    ...more,
  };
}
