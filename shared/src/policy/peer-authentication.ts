// Pure. Whether plaintext may reach a port of a workload (Istio PeerAuthentication).
import { ROOT_NAMESPACE, selects } from "./applies.ts";
import type { PolicyWorkload } from "./applies.ts";
import type { PeerAuthentication } from "./authorization.ts";

/** The mode in effect: STRICT takes mutual TLS only; the others take plaintext too. */
export type PeerMode = "STRICT" | "PERMISSIVE" | "DISABLE";

/**
 * The mode of one port of a workload. The nearest resource that sets one decides: for the port, for the workload, for
 * its namespace, for the mesh (root namespace); PERMISSIVE when none does. Among resources equally near, of which Istio
 * takes the oldest, the strictest decides, and one that is not understood counts as STRICT.
 */
export function effectiveMode(
  resources: readonly PeerAuthentication[],
  workload: PolicyWorkload,
  port: number,
  rootNamespace: string = ROOT_NAMESPACE,
): PeerMode {
  const own = resources.filter(
    (resource) =>
      resource.namespace === workload.namespace &&
      resource.selector !== undefined &&
      resource.selector.size > 0 &&
      selects(resource.selector, workload.labels),
  );
  const wide = (namespace: string): readonly PeerAuthentication[] =>
    resources.filter(
      (resource) =>
        resource.namespace === namespace && (resource.selector === undefined || resource.selector.size === 0),
    );
  return (
    strictest(own, (resource) => resource.portModes.get(port)) ??
    strictest(own, (resource) => resource.mode) ??
    strictest(wide(workload.namespace), (resource) => resource.mode) ??
    strictest(wide(rootNamespace), (resource) => resource.mode) ??
    "PERMISSIVE"
  );
}

function strictest(
  resources: readonly PeerAuthentication[],
  modeOf: (resource: PeerAuthentication) => PeerAuthentication["mode"] | undefined,
): PeerMode | undefined {
  let found: PeerMode | undefined;
  for (const resource of resources) {
    const mode = resource.notUnderstood === undefined ? modeOf(resource) : "STRICT";
    if (mode === undefined || mode === "UNSET") continue;
    if (mode === "STRICT") return mode;
    if (found === undefined || mode === "PERMISSIVE") found = mode;
  }
  return found;
}
