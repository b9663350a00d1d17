// Pure. Which address of the own app a tunnel request means, if it means one at all.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { formatHostPort, ipFamily, type Ip } from "@culvert/shared/net/ip.ts";
import type { ListenAddress } from "@culvert/shared/net/listen-address.ts";
import type { Authority } from "@culvert/shared/tunnel/authority.ts";
import { targetPort } from "@culvert/shared/workload/directory.ts";
import type { Service } from "@culvert/shared/workload/workload.ts";
import { isOwnApp } from "../own-listeners.ts";
import type { UproxyState } from "../state.ts";

/** The app's address as the caller sees it, where it is really reached, and the service that was asked for by name. */
export interface InboundTarget {
  readonly ip: Ip;
  /** Host to dial: the address itself, or what `inbound.app` says. */
  readonly host: string;
  readonly port: number;
  readonly service: Service | undefined;
  /** The address that was asked for: of a service that was asked for by name, its own. */
  readonly asked: Endpoint;
}

/** Where the app is. */
export interface AppPlace {
  /** Host at which it is reached; `undefined`: at the address in the tunnel request. */
  readonly host: string | undefined;
  /** Listeners of this proxy, to which no tunnel may lead back. */
  readonly notTo: readonly ListenAddress[];
}

/**
 * Maps the authority of a tunnel request to the own app. The result is always an address of this very workload, so that
 * no peer can use the proxy to reach anything else.
 *
 * @param local address at which the request arrived
 * @param app where the app is reached and what it must not be mistaken for
 */
export function inboundTarget(
  state: UproxyState,
  authority: Authority,
  local: Ip,
  app: AppPlace,
): InboundTarget | Failure {
  const { workload } = state;
  if (isFailure(workload)) return workload;
  if (authority.kind === "ip") {
    if (authority.host !== local && !workload.addresses.includes(authority.host)) {
      const mine = workload.addresses.join(", ");
      return fail("DESTINATION_NOT_MINE", `${authority.host} is not an address of ${workload.uid} (${mine})`);
    }
    const asked = { ip: authority.host, port: authority.port };
    return atApp(app, { ...asked, service: undefined, asked });
  }
  const target = formatHostPort(authority.host, authority.port);
  const { directory } = state.snapshot;
  // A Service may be there for other namespaces only: the workload behind it is its own all the same.
  const service =
    directory.serviceByHost(authority.host, workload.namespace) ??
    directory.servicesOf(workload).find(({ hostname }) => hostname === authority.host.toLowerCase());
  const port = service?.ports.find((candidate) => candidate.port === authority.port);
  if (service === undefined || port === undefined) return fail("SERVICE_NOT_MINE", `no service port ${target}`);
  if (!directory.endpoints(service).some((endpoint) => endpoint.uid === workload.uid)) {
    return fail("SERVICE_NOT_MINE", `${workload.uid} is no endpoint of ${service.uid}`);
  }
  const appPort = targetPort(service, port, workload);
  if (appPort === undefined) {
    return fail("SERVICE_NOT_MINE", `${workload.uid} has no port named ${String(port.targetPort)}`);
  }
  const ip = workload.addresses.includes(local) ? local : (workload.addresses[0] ?? local);
  const vip = service.vips.find((candidate) => ipFamily(candidate) === 4) ?? service.vips[0];
  const asked = vip === undefined ? { ip, port: appPort } : { ip: vip, port: authority.port };
  return atApp(app, { ip, port: appPort, service, asked });
}

/**
 * Maps the original destination of a captured plaintext connection to the own app: first that it is no listener of this
 * proxy, so that who dials the capture port itself is told the reason, then that the address is this workload's.
 */
export function capturedTarget(state: UproxyState, wanted: Endpoint, app: AppPlace): InboundTarget | Failure {
  const target = atApp(app, { ...wanted, service: undefined, asked: wanted });
  if (isFailure(target)) return target;
  const { workload } = state;
  if (isFailure(workload)) return workload;
  if (workload.addresses.includes(wanted.ip)) return target;
  const mine = workload.addresses.join(", ");
  return fail("DESTINATION_NOT_MINE", `${wanted.ip} is not an address of ${workload.uid} (${mine})`);
}

function atApp(app: AppPlace, target: Omit<InboundTarget, "host">): InboundTarget | Failure {
  const host = app.host ?? target.ip;
  return isOwnApp(app.notTo, host, target.port)
    ? fail("SELF_CALL", formatHostPort(host, target.port))
    : { ...target, host };
}
