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

/** The modes of all ports of a workload. */
export interface PeerModes {
  /** Of ports that are not named. */
  readonly otherwise: PeerMode;
  readonly ports: ReadonlyMap<number, PeerMode>;
}

/** What holds while no resource says anything. */
export const PERMISSIVE_MODES: PeerModes = { otherwise: "PERMISSIVE", ports: new Map() };

/** No port has this number, so no resource names it. */
const NO_PORT = 0;

/** Works out `effectiveMode` for every port, so that a connection only has to look it up. */
export function effectiveModes(
  resources: readonly PeerAuthentication[],
  workload: PolicyWorkload,
  rootNamespace: string = ROOT_NAMESPACE,
): PeerModes {
  const named = new Set(resources.flatMap((resource) => [...resource.portModes.keys()]));
  const mode = (port: number): PeerMode => effectiveMode(resources, workload, port, rootNamespace);
  return { otherwise: mode(NO_PORT), ports: new Map([...named].map((port) => [port, mode(port)])) };
}

/** The mode of one port. */
export function modeOfPort(modes: PeerModes, port: number): PeerMode {
  return modes.ports.get(port) ?? modes.otherwise;
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
