// Pure. Which policies apply to a workload (enforced by its uproxy) and which to a waypoint.
import type { AuthorizationPolicy, PolicyTargetRef } from "./authorization.ts";

/** The namespace whose policies hold for the whole mesh, unless the configuration says another. */
export const ROOT_NAMESPACE = "istio-system";

/** A workload as far as policies select by it. */
export interface PolicyWorkload {
  readonly namespace: string;
  readonly labels: ReadonlyMap<string, string>;
}

/** Something that a policy can name in `targetRefs`. */
export interface PolicyObject {
  readonly namespace: string;
  readonly name: string;
}

/** A Service, or one host of a ServiceEntry, which is named by the name of the entry. */
export interface PolicyService extends PolicyObject {
  readonly entry: { readonly name: string } | undefined;
}

/**
 * The policies that the uproxy of a workload enforces: those of its namespace and of the root namespace, for all
 * workloads or by a selector that the workload's labels satisfy. Policies with `targetRefs` are the waypoint's.
 */
export function policiesForWorkload(
  policies: readonly AuthorizationPolicy[],
  workload: PolicyWorkload,
  rootNamespace: string = ROOT_NAMESPACE,
): readonly AuthorizationPolicy[] {
  return policies.filter((policy) => {
    if (policy.namespace !== workload.namespace && policy.namespace !== rootNamespace) return false;
    if (policy.target.kind === "namespace") return true;
    return policy.target.kind === "selector" && selects(policy.target.labels, workload.labels);
  });
}

/**
 * The policies that a waypoint enforces for a service: those of whose `targetRefs` one names the waypoint's Gateway or
 * the service, in the policy's own namespace. Selectors and namespace-wide policies are not the waypoint's: each
 * destination's uproxy enforces them.
 */
export function policiesForWaypoint(
  policies: readonly AuthorizationPolicy[],
  target: { readonly gateway: PolicyObject; readonly service: PolicyService | undefined },
): readonly AuthorizationPolicy[] {
  return policies.filter((policy) => {
    if (policy.target.kind !== "refs") return false;
    return policy.target.refs.some((ref) => names(policy.namespace, ref, target.gateway, target.service));
  });
}

/** Whether labels carry everything that a selector asks for. An empty selector asks nothing. */
export function selects(selector: ReadonlyMap<string, string>, labels: ReadonlyMap<string, string>): boolean {
  for (const [key, value] of selector) if (labels.get(key) !== value) return false;
  return true;
}

function names(
  namespace: string,
  ref: PolicyTargetRef,
  gateway: PolicyObject,
  service: PolicyService | undefined,
): boolean {
  if (ref.kind === "Gateway") return gateway.namespace === namespace && gateway.name === ref.name;
  if (service === undefined || service.namespace !== namespace) return false;
  return ref.kind === "ServiceEntry"
    ? service.entry?.name === ref.name
    : service.entry === undefined && service.name === ref.name;
}
