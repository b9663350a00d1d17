// Pure. A waypoint in one of its placements, as resources: the Gateway `waypoint`, and its instances.
import type { Placement } from "@culvert/shared/workload/workload.ts";
import { SIDECAR_PORTS } from "./mesh.ts";
import { waypoint, type Resource } from "./resources.ts";

/** An instance of the waypoint, and who it is. */
export interface PlacedInstance {
  readonly name: string;
  readonly account: string;
  /** It is beside an endpoint, in one pod, with ports of its own. */
  readonly isBeside: boolean;
}

/** Label that names a node. */
export function nodeLabel(node: string): Readonly<Record<string, string>> {
  return { "kubernetes.io/hostname": node };
}

/** The Gateway. @param account the one that it serves in the placement where it serves one alone */
export function placedGateway(
  placement: Placement,
  account: string,
  annotations: Readonly<Record<string, string>> = {},
): Resource {
  const [gateway] = waypoint("waypoint", "", {
    serviceAccount: "",
    annotations: {
      "culvert.dev/placement": placement,
      "istio.io/for-service-account": account,
      ...annotations,
    },
  });
  if (gateway === undefined) throw new Error("a waypoint has a Gateway");
  return gateway;
}

/** An instance at an address. @param node labels of its node, which it has from the endpoint where it is beside one */
export function placedInstance(
  { name, account, isBeside }: PlacedInstance,
  address: string,
  node: Readonly<Record<string, string>>,
): Resource {
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "WorkloadEntry",
    metadata: {
      name,
      namespace: "default",
      labels: { "gateway.networking.k8s.io/gateway-name": "waypoint", ...(isBeside ? {} : node) },
      ...(isBeside ? { annotations: { "culvert.dev/hbone-port": String(SIDECAR_PORTS.hbone) } } : {}),
    },
    spec: { address, serviceAccount: account },
  };
}
