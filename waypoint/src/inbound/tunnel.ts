// Pure. One accepted tunnel, as everything behind the waypoint's port knows it.
import { homeName, trustDomainOf, workloadOf } from "@culvert/shared/identity/spiffe-id.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import type { TunnelRequest } from "@culvert/shared/tunnel/server.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";
import type { Caller, WaypointSelf } from "../mesh/destination.ts";
import type { MeshView } from "../mesh/view.ts";
import type { Tenant, Tenants } from "../tenants/tenants.ts";

/** The fixed facts of a tunnel. */
export interface Tunnel {
  /** Id of the connection, for log and admin. */
  readonly id: string;
  readonly request: TunnelRequest;
  readonly caller: Caller;
  /** `ip:port` of the caller's end. */
  readonly source: string;
  /** `ip:port` of our end. */
  readonly local: string;
  /** Monotonic milliseconds. */
  readonly startedAt: number;
}

/** Gathers the facts of a request. */
export function tunnelOf(id: string, request: TunnelRequest, self: WaypointSelf, startedAt: number): Tunnel {
  const { peer, source, local } = request;
  const isOurs = trustDomainOf(homeName(peer.id, self.trustDomain, self.aliases)) === self.trustDomain;
  return {
    id,
    request,
    caller: { id: peer.id, namespace: isOurs ? workloadOf(peer.id)?.namespace : undefined },
    source: formatHostPort(source.ip, source.port),
    local: formatHostPort(local.ip, local.port),
    startedAt,
  };
}

/** The tenant that a tunnel comes from. */
export function tenantOf(tenants: Tenants, { request }: Tunnel, { trustDomain, aliases }: WaypointSelf): Tenant {
  return tenants.of(homeName(request.peer.id, trustDomain, aliases), trustDomain);
}

/** The workload that a tunnel comes from: at the caller's address, with the caller's account. */
export function callerWorkload(view: MeshView, tunnel: Tunnel): Workload | undefined {
  const name = workloadOf(tunnel.request.peer.id);
  return view.snapshot.directory
    .workloadsAt(tunnel.request.source.ip)
    .find((workload) => workload.namespace === name?.namespace && workload.serviceAccount === name.serviceAccount);
}
