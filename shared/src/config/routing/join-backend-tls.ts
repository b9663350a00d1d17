// Pure. BackendTLSPolicies joined with the certificates that they name; of several for one target the oldest counts.
import type { Directory } from "../../workload/directory.ts";
import type { BackendTls, BackendTlsTarget } from "../backend-tls.ts";
import { serviceNamed } from "../cross-check.ts";
import { ofKind } from "../resources/of-kind.ts";
import type { BackendTlsPolicyResource, CaSourceResource, Resource } from "../resources/resource.ts";
import type { Problem } from "../snapshot.ts";
import { ReferenceCheck } from "./reference-check.ts";

/** Joins the policies, the oldest first. One that cannot be used keeps its targets, to which then no request goes. */
export function joinBackendTls(
  resources: readonly Resource[],
  directory: Directory,
): { readonly policies: readonly BackendTls[]; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const sources = new Map<string, CaSourceResource>();
  for (const source of [...ofKind(resources, "ConfigMap"), ...ofKind(resources, "Secret")]) {
    sources.set(`${source.kind} ${source.metadata.namespace}/${source.metadata.name}`, source);
  }
  const taken = new Map<string, string>();
  const policies: BackendTls[] = [];
  for (const resource of ofKind(resources, "BackendTLSPolicy").toSorted(byAge)) {
    const check = new ReferenceCheck(resource, directory, problems);
    const { policy } = resource;
    const targets: BackendTlsTarget[] = [];
    for (const [index, target] of policy.targets.entries()) {
      const path = `spec.targetRefs[${index}]`;
      const missing = missingTarget(policy.namespace, target, directory);
      const key = `${policy.namespace}/${target.name} ${target.sectionName ?? ""}`;
      const first = taken.get(key);
      if (missing !== undefined) check.report(path, missing, "TargetNotFound");
      if (first !== undefined) check.report(path, `${first} has it already`, "Conflicted");
      else {
        taken.set(key, policy.uid);
        targets.push(target);
      }
    }
    const roots = rootsOf(resource, sources, check);
    const notUnderstood = policy.notUnderstood ?? (typeof roots === "string" ? undefined : roots.missing);
    policies.push({ ...policy, targets, roots: typeof roots === "string" ? roots : roots.found, notUnderstood });
  }
  return { policies, problems };
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

function byAge(a: BackendTlsPolicyResource, b: BackendTlsPolicyResource): number {
  return a.policy.createdAt - b.policy.createdAt || (a.policy.uid < b.policy.uid ? -1 : 1);
}
