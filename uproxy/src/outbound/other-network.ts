// Pure. The way to what is in other networks: a tunnel to the gateway of that network, and inside it one to whichever workload
// of the service the gateway chooses.
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId, TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { formatHostPort, type Ip } from "@culvert/shared/net/ip.ts";
import type { TunnelGateway } from "@culvert/shared/tunnel/target.ts";
import type { Directory } from "@culvert/shared/workload/directory.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";
import { identityOfWorkload } from "@culvert/shared/workload/workload-identity.ts";

/** An instance of a gateway, with the workloads behind it that may answer. */
export interface GatewayEndpoint {
  /** The instance, with the weight of all that it stands for. */
  readonly workload: Workload;
  readonly ip: Ip;
  readonly port: number;
  readonly authority: string;
  readonly expected: readonly SpiffeId[];
  readonly via: TunnelGateway;
}

/**
 * The endpoints that stand for `remote`, which are workloads of other networks. A network without a gateway that has a healthy
 * instance is left out: nothing is sent to addresses that mean something else here.
 *
 * @param authority `host:port` of the service, which is what the gateway and the workload behind it are both asked for
 */
export function throughGateways(
  directory: Directory,
  trustDomain: TrustDomain,
  authority: string,
  remote: readonly Workload[],
  note: ((step: string) => void) | undefined,
): GatewayEndpoint[] | Failure {
  const endpoints: GatewayEndpoint[] = [];
  for (const [network, workloads] of Map.groupBy(remote, (workload) => workload.network)) {
    const instances = (directory.networkGateway(network) ?? []).filter(({ healthy }) => healthy);
    const places = instances.flatMap((instance) => instance.addresses.map((ip) => ({ instance, ip })));
    if (places.length === 0) {
      note?.(`no gateway with a healthy instance leads into network ${network}: ${namesOf(workloads)} left out`);
      continue;
    }
    const expected = identitiesOf(trustDomain, workloads);
    if (isFailure(expected)) return expected;
    const weight = workloads.reduce((total, workload) => total + workload.weight, 0) / places.length;
    for (const { instance, ip } of places) {
      const gateway = identitiesOf(trustDomain, [instance]);
      if (isFailure(gateway)) return gateway;
      const at = formatHostPort(ip, instance.hbonePort);
      note?.(`network ${network} through gateway ${instance.uid} at ${at}, expecting ${gateway.join(" or ")}`);
      endpoints.push({
        workload: { ...instance, weight },
        ip,
        port: instance.hbonePort,
        authority,
        expected,
        via: { expected: gateway, authority, peers: workloads.length },
      });
    }
    note?.(`and inside it a tunnel to ${authority}, expecting ${expected.join(" or ")}`);
  }
  return endpoints;
}

/** Each once, and in one order, so that the same workloads always share sessions. */
function identitiesOf(trustDomain: TrustDomain, workloads: readonly Workload[]): readonly SpiffeId[] | Failure {
  const identities = new Set<SpiffeId>();
  for (const workload of workloads) {
    const id = identityOfWorkload(workload, trustDomain);
    if (isFailure(id)) return id;
    identities.add(id);
  }
  return [...identities].toSorted();
}

function namesOf(workloads: readonly Workload[]): string {
  return workloads.map(({ uid }) => uid).join(", ");
}
