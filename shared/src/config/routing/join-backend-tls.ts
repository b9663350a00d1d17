// Pure. BackendTLSPolicies joined with the certificates that they name; of several for one target the oldest counts.
import { byAge } from "../by-age.ts";
import type { Directory } from "../../workload/directory.ts";
import type { Service, ServicePort } from "../../workload/workload.ts";
import type { BackendTls, BackendTlsTarget } from "../backend-tls.ts";
import { serviceNamed } from "../cross-check.ts";
import { ofKind } from "../resources/of-kind.ts";
import type { BackendTlsPolicyResource, CaSourceResource, Resource } from "../resources/resource.ts";
import type { Problem } from "../snapshot.ts";
import type { TargetOutcome } from "../status/backend-tls-status.ts";
import type { Refusal } from "../status/verdicts.ts";
import { ReferenceCheck } from "./reference-check.ts";

/** A policy, and what became of each of its targets as they were written. */
export interface JoinedPolicy {
  readonly policy: BackendTls;
  readonly targets: readonly TargetOutcome[];
}

/** Whether a policy is about a port. */
export type TlsPorts = (service: Service, port: ServicePort) => boolean;

/** Joins the policies, the oldest first, and adds to `problems`. One that cannot be used keeps its targets, to which then no request goes. */
export function joinBackendTls(
  resources: readonly Resource[],
  directory: Directory,
  problems: Problem[],
): readonly JoinedPolicy[] {
  const sources = new Map<string, CaSourceResource>();
  for (const source of [...ofKind(resources, "ConfigMap"), ...ofKind(resources, "Secret")]) {
    sources.set(`${source.kind} ${source.metadata.namespace}/${source.metadata.name}`, source);
  }
  const taken = new Map<string, string>();
  const policies: JoinedPolicy[] = [];
  for (const resource of ofKind(resources, "BackendTLSPolicy").toSorted((a, b) => byAge(a.policy, b.policy))) {
    const check = new ReferenceCheck(resource, directory, problems);
    const { policy } = resource;
    const outcomes: TargetOutcome[] = [];
    for (const [index, target] of policy.targets.entries()) {
      const key = `${policy.namespace}/${target.name} ${target.sectionName ?? ""}`;
      const first = taken.get(key);
      if (first === undefined) taken.set(key, policy.uid);
      const missing = missingTarget(policy.namespace, target, directory);
      let refused: Refusal | undefined;
      if (missing !== undefined) refused = { reason: "TargetNotFound", text: missing };
      if (first !== undefined) refused = { reason: "Conflicted", text: `${first} has it already` };
      if (refused !== undefined) check.report(`spec.targetRefs[${index}]`, refused.text, refused.reason);
      outcomes.push({ target, refused });
    }
    const targets = outcomes.filter(({ refused }) => refused?.reason !== "Conflicted").map(({ target }) => target);
    const roots = rootsOf(resource, sources, check);
    const notUnderstood = policy.notUnderstood ?? (typeof roots === "string" ? undefined : roots.missing);
    const found = typeof roots === "string" ? roots : roots.found;
    policies.push({ policy: { ...policy, targets, roots: found, notUnderstood }, targets: outcomes });
  }
  return policies;
}

/** The ports that policies are about. */
export function tlsPorts(policies: readonly JoinedPolicy[]): TlsPorts {
  const targets = new Set<string>();
  for (const { policy } of policies) {
    for (const { name, sectionName } of policy.targets) targets.add(`${policy.namespace}/${name} ${sectionName ?? ""}`);
  }
  return ({ uid }, { name }) => targets.has(`${uid} `) || targets.has(`${uid} ${name}`);
}

/** The certificates of all references. A reference that is of no use is told; without any certificate the policy cannot be used. */
function rootsOf(
  { policy, roots }: BackendTlsPolicyResource,
  sources: ReadonlyMap<string, CaSourceResource>,
  check: ReferenceCheck,
): "system" | { readonly found: readonly string[]; readonly missing: string | undefined } {
  if (roots === "system") return "system";
  const found: string[] = [];
  let missing: string | undefined;
  for (const { kind, name, path } of roots) {
    const title = `${kind} ${policy.namespace}/${name}`;
    const source = sources.get(title);
    const reason = source === undefined ? `there is no ${title}` : `${title} has no certificates in ca.crt`;
    if (source?.roots === undefined || source.roots.length === 0) {
      missing ??= `${path}: ${reason}`;
      check.report(path, reason, "InvalidCACertificateRef");
    } else found.push(...source.roots);
  }
  return { found, missing: found.length === 0 ? (missing ?? "names no certificates") : undefined };
}

function missingTarget(
  namespace: string,
  { name, sectionName }: BackendTlsTarget,
  directory: Directory,
): string | undefined {
  const service = serviceNamed(directory, `${namespace}/${name}`);
  if (service === undefined) return `there is no Service ${namespace}/${name}`;
  if (sectionName === undefined || service.ports.some((port) => port.name === sectionName)) return undefined;
  return `Service ${namespace}/${name} has no port ${sectionName}`;
}
