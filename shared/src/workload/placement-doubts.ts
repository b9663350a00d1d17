// Pure. Placements that lead nowhere as things stand: nothing in them is wrong by itself, and every caller would be refused.
import type { Directory } from "./directory.ts";
import type { Waypoint, Workload } from "./workload.ts";

/** One sentence for each Gateway whose instances cannot stand where its placement says, with what is missing. */
export function placementDoubts(directory: Directory): string[] {
  return [...directory.waypoints()].flatMap((waypoint) => {
    const instances = directory.waypointInstances(waypoint);
    if (instances.length === 0) return [];
    const doubt = doubtOf(waypoint, instances, directory);
    return doubt === undefined ? [] : [`Gateway ${waypoint.namespace}/${waypoint.name}: ${doubt}`];
  });
}

function doubtOf(
  { placement, withoutLocal }: Waypoint,
  instances: readonly Workload[],
  directory: Directory,
): string | undefined {
  if (placement === "node" && instances.every(({ node }) => node === undefined)) {
    const outcome = withoutLocal === "refuse" ? "nobody is served" : "it is as with placement remote";
    return `placement node, and no instance has the label kubernetes.io/hostname: ${outcome}`;
  }
  if (placement !== "sidecar") return undefined;
  // One whose name is not resolved may have any address.
  const known = instances.filter(({ addresses }) => addresses.length > 0);
  const alone = known.filter((instance) => !hasCompany(instance, instances, directory));
  if (alone.length === 0) return undefined;
  const names = alone.map(({ uid }) => uid).join(", ");
  return `placement sidecar, and no other workload has the address of ${names}`;
}

function hasCompany({ addresses }: Workload, instances: readonly Workload[], directory: Directory): boolean {
  return addresses.some((ip) => directory.workloadsAt(ip).some((workload) => !instances.includes(workload)));
}
