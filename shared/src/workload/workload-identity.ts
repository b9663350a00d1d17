// Pure. Which identity a workload must prove.
import type { Failure } from "../failure/failure.ts";
import { workloadId } from "../identity/spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "../identity/spiffe-id.ts";
import type { Workload } from "./workload.ts";

/** Its account in its namespace, in its own trust domain, or else in `own`. Fails as `workloadId` does. */
export function identityOfWorkload(
  { namespace, serviceAccount, trustDomain }: Pick<Workload, "namespace" | "serviceAccount" | "trustDomain">,
  own: TrustDomain,
): SpiffeId | Failure {
  return workloadId(trustDomain ?? own, namespace, serviceAccount);
}
