// Pure. Workloads, services and snapshots for unit tests: what a test does not name has its usual value.
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain, workloadId, type SpiffeId, type TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { parseIp, type Ip } from "@culvert/shared/net/ip.ts";
import { Directory, type DirectoryContents } from "@culvert/shared/workload/directory.ts";
import type { Service, Waypoint, Workload } from "@culvert/shared/workload/workload.ts";

/** An address that is known to be one. */
export function ip(text: string): Ip {
  return must(parseIp(text) ?? fail("INTERNAL", `not an address: ${text}`));
}

/** The trust domain of all fixtures. */
export const TRUST_DOMAIN: TrustDomain = must(parseTrustDomain("cluster.local"));

/** `spiffe://cluster.local/ns/<namespace>/sa/<account>`. */
export function id(namespace: string, account: string): SpiffeId {
  return must(workloadId(TRUST_DOMAIN, namespace, account));
}

type WorkloadParts = Partial<Omit<Workload, "addresses" | "labels" | "ports">> & {
  readonly addresses?: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  readonly ports?: Readonly<Record<string, number>>;
};

/** A workload in the mesh; its account is its name unless said otherwise. */
export function workload(name: string, parts: WorkloadParts = {}): Workload {
  const namespace = parts.namespace ?? "default";
  return {
    uid: `${namespace}/${name}`,
    namespace,
    name,
    serviceAccount: name,
    hostname: undefined,
    protocol: "hbone",
    hbonePort: 15008,
    weight: 1,
    healthy: true,
    waypoint: undefined,
    requireWaypoint: false,
    node: undefined,
    ...parts,
    addresses: (parts.addresses ?? []).map(ip),
    labels: new Map(Object.entries(parts.labels ?? {})),
    ports: new Map(Object.entries(parts.ports ?? {})),
  };
}

type ServiceParts = Partial<Omit<Service, "vips" | "selector">> & {
  readonly vips?: readonly string[];
  readonly selector?: Readonly<Record<string, string>>;
};

/** A service with port 80 to port 8080 that selects `app: <name>`. */
export function service(name: string, parts: ServiceParts = {}): Service {
  const namespace = parts.namespace ?? "default";
  return {
    uid: `${namespace}/${name}`,
    namespace,
    name,
    hostname: `${name}.${namespace}.svc.cluster.local`,
    ports: [{ name: "http", port: 80, targetPort: 8080, appProtocol: "http" }],
    waypoint: undefined,
    requireWaypoint: false,
    ...parts,
    vips: (parts.vips ?? []).map(ip),
    selector: new Map(Object.entries(parts.selector ?? { app: name })),
  };
}

/** A remote waypoint for services. */
export function waypoint(name: string, parts: Partial<Waypoint> = {}): Waypoint {
  return { namespace: "default", name, serves: "service", placement: "remote", port: 15008, addresses: [], ...parts };
}

/** A snapshot of these workloads, services and waypoints. */
export function snapshot(contents: Partial<DirectoryContents>, parts: Partial<Snapshot> = {}): Snapshot {
  return {
    version: 1,
    directory: new Directory({ workloads: [], services: [], waypoints: [], ...contents }),
    policies: [],
    peerAuthentications: [],
    routes: [],
    problems: [],
    ...parts,
  };
}

function must<T>(value: T): Exclude<T, Failure> {
  if (isFailure(value)) throw new Error(value.toString());
  return value as Exclude<T, Failure>;
}
