// Pure. Which identity a workload must prove.
import type { Failure } from "../failure/failure.ts";
import { workloadId } from "../identity/spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "../identity/spiffe-id.ts";
import type { Workload } from "./workload.ts";

/** What of a workload makes its identity. */
type Account = Pick<Workload, "namespace" | "serviceAccount" | "trustDomain">;

/** Its account in its namespace, in its own trust domain, or else in `own`. Fails as `workloadId` does. */
export function identityOfWorkload(
  { namespace, serviceAccount, trustDomain }: Account,
  own: TrustDomain,
): SpiffeId | Failure {
  return workloadId(trustDomain ?? own, namespace, serviceAccount);
}

/** Whether a workload is to prove that identity; `own` as above. */
export function hasIdentity(workload: Account, id: SpiffeId, own: TrustDomain): boolean {
  return identityOfWorkload(workload, own) === id;
}
