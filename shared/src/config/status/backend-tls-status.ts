// Pure. The status of a BackendTLSPolicy: for each of its targets whether it is what TLS to there is checked by.
import type { BackendTls, BackendTlsTarget } from "../backend-tls.ts";
import type { ResourceStatus } from "./condition.ts";
import type { Refusal, Verdicts } from "./verdicts.ts";

/** What became of one target. */
export interface TargetOutcome {
  readonly target: BackendTlsTarget;
  readonly refused: Refusal | undefined;
}

/** The status of a policy with its targets as they were written. */
export function backendTlsStatus(
  { namespace, name, roots, notUnderstood }: BackendTls,
  targets: readonly TargetOutcome[],
  verdicts: Verdicts,
): ResourceStatus {
  let refused: Refusal | undefined;
  if (notUnderstood !== undefined) refused = verdicts.refusal(notUnderstood);
  // Without any certificate Gateway API wants that told before all else.
  if (notUnderstood !== undefined && roots.length === 0)
    refused = { reason: "NoValidCACertificate", text: notUnderstood };
  const parents = targets.map(({ target, refused: notHere }) => ({
    ref: {
      group: "",
      kind: "Service" as const,
      namespace,
      name: target.name,
      ...(target.sectionName === undefined ? {} : { sectionName: target.sectionName }),
    },
    conditions: [verdicts.accepted(notHere ?? refused), verdicts.resolvedRefs()],
  }));
  return { kind: "BackendTLSPolicy", namespace, name, parents };
}
