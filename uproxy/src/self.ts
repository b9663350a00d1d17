// Pure. Which workload of the mesh this uproxy stands beside.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { trustDomainOf, workloadOf, type SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import type { Directory } from "@culvert/shared/workload/directory.ts";
import { isInstance } from "@culvert/shared/workload/placement.ts";
import type { Workload } from "@culvert/shared/workload/workload.ts";
import { hasIdentity } from "@culvert/shared/workload/workload-identity.ts";

/** What a uproxy knows of itself before it has read any resource. */
export interface SelfHints {
  readonly id: SpiffeId;
  /** `workload` of the process configuration. */
  readonly configured: { readonly namespace: string; readonly name: string } | undefined;
  /** Addresses of this host, the one that the tunnel listener is bound to first. */
  readonly addresses: readonly Ip[];
}

/**
 * Finds the own workload: the configured one, else the only one that has the SVID's account and one of our addresses.
 * A workload of another account is refused in either case: the certificate decides who we are.
 */
export function findSelf(directory: Directory, hints: SelfHints): Workload | Failure {
  const account = workloadOf(hints.id);
  if (account === undefined) {
    return fail("WORKLOAD_UNKNOWN", `${hints.id} is not of the form spiffe://…/ns/<namespace>/sa/<account>`);
  }
  const mine = (workload: Workload): boolean => hasIdentity(workload, hints.id, trustDomainOf(hints.id));

  if (hints.configured !== undefined) {
    const uid = `${hints.configured.namespace}/${hints.configured.name}`;
    const workload = directory.workload(uid);
    if (workload === undefined) return fail("WORKLOAD_UNKNOWN", `no workload ${uid} in the resources`);
    if (mine(workload)) return workload;
    return fail(
      "WORKLOAD_UNKNOWN",
      `workload ${uid} has account ${workload.namespace}/${workload.serviceAccount}, the certificate says ${hints.id}`,
    );
  }
  for (const ip of hints.addresses) {
    const found = ofThePod(directory.workloadsAt(ip).filter(mine));
    if (found.length > 1) {
      const names = found.map((workload) => workload.uid).join(", ");
      return fail("WORKLOAD_UNKNOWN", `several workloads at ${ip} have this account (${names}): set workload.name`);
    }
    if (found[0] !== undefined) return found[0];
  }
  return fail(
    "WORKLOAD_UNKNOWN",
    `no workload with account ${account.namespace}/${account.serviceAccount} has one of the addresses ` +
      `${hints.addresses.join(", ")}: set workload.namespace and workload.name`,
  );
}

/** Nobody stands beside a waypoint that is in the same pod, even where it has the account of the pod. */
function ofThePod(workloads: readonly Workload[]): readonly Workload[] {
  const others = workloads.filter((workload) => !isInstance(workload));
  return others.length === 0 ? workloads : others;
}
