// Pure. Which address of the own app a tunnel request means, if it means one at all.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { formatHostPort, type Ip } from "@culvert/shared/net/ip.ts";
import type { Authority } from "@culvert/shared/tunnel/authority.ts";
import { targetPort } from "@culvert/shared/workload/directory.ts";
import type { Service } from "@culvert/shared/workload/workload.ts";
import type { UproxyState } from "./state.ts";

/** The app's address as the caller sees it, and the service that was asked for by name. */
export interface InboundTarget {
  readonly ip: Ip;
  readonly port: number;
  readonly service: Service | undefined;
}

/**
 * Maps the authority of a tunnel request to the own app. The result is always an address of this very workload, so that
 * no peer can use the proxy to reach anything else.
 *
 * @param local address at which the request arrived
 * @param ownPorts ports of this proxy, which a tunnel must never lead back to
 */
export function inboundTarget(
  state: UproxyState,
  authority: Authority,
  local: Ip,
  ownPorts: ReadonlySet<number>,
): InboundTarget | Failure {
  const { workload } = state;
  if (isFailure(workload)) return workload;
  if (authority.kind === "ip") {
    if (authority.host !== local && !workload.addresses.includes(authority.host)) {
      const mine = workload.addresses.join(", ");
      return fail("DESTINATION_NOT_MINE", `${authority.host} is not an address of ${workload.uid} (${mine})`);
    }
    if (ownPorts.has(authority.port)) return ownPort(authority.port);
    return { ip: authority.host, port: authority.port, service: undefined };
  }
  const target = formatHostPort(authority.host, authority.port);
  const service = state.snapshot.directory.serviceByHost(authority.host, workload.namespace);
  const port = service?.ports.find((candidate) => candidate.port === authority.port);
  if (service === undefined || port === undefined) return fail("SERVICE_NOT_MINE", `no service port ${target}`);
  if (!state.snapshot.directory.endpoints(service).some((endpoint) => endpoint.uid === workload.uid)) {
    return fail("SERVICE_NOT_MINE", `${workload.uid} is no endpoint of ${service.uid}`);
  }
  const appPort = targetPort(service, port, workload);
  if (appPort === undefined) {
    return fail("SERVICE_NOT_MINE", `${workload.uid} has no port named ${String(port.targetPort)}`);
  }
  if (ownPorts.has(appPort)) return ownPort(appPort);
  return { ip: workload.addresses.includes(local) ? local : (workload.addresses[0] ?? local), port: appPort, service };
}

function ownPort(port: number): Failure {
  return fail("SELF_CALL", `port ${port}`);
}
