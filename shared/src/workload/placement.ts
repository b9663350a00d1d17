// Pure. Which instances of a waypoint stand before which workload: what the placement of its Gateway says about them.
import type { Ip } from "../net/ip.ts";
import { GATEWAY_NAME_LABEL, isOtherNetwork, type Directory } from "./directory.ts";
import type { Waypoint, WaypointRef, Workload } from "./workload.ts";

/** The instances that may serve for a waypoint at all, healthy or not: one of another account than that which it serves may not. */
export function servingInstances(directory: Directory, waypoint: Waypoint): readonly Workload[] {
  const instances = directory.waypointInstances(waypoint);
  if (waypoint.placement !== "service-account") return instances;
  return instances.filter(({ serviceAccount }) => serviceAccount === waypoint.forServiceAccount);
}

/** The instances in the pod that has an address, in the network of that address. */
export function instancesInPod(directory: Directory, ref: WaypointRef, ip: Ip, network: string): Workload[] {
  return directory
    .workloadsAt(ip)
    .filter((workload) => isInstanceOf(workload, ref) && !isOtherNetwork(workload.network, network));
}

/**
 * The instances from which a workload takes connections when a waypoint stands before it: all of its Gateway, whatever their
 * placement, so that nothing is refused while a waypoint moves from one to another; with `sidecar` none that stand in the pods of
 * others, whose accounts they may have. None where the Gateway is not understood, or serves another account.
 */
export function instancesBefore(directory: Directory, ref: WaypointRef, workload: Workload): readonly Workload[] {
  const waypoint = directory.waypoint(ref);
  if (waypoint === undefined || !isOfAccount(waypoint, workload)) return [];
  const instances = directory.waypointInstances(ref);
  if (waypoint.placement !== "sidecar") return instances;
  return instances.filter((instance) => sharesAddress(instance, workload) || !isBesideSomebody(directory, instance));
}

/** Whether an instance has the address of a workload that is none. One that is reached at the instance's own port is the instance. */
export function isBesideSomebody(directory: Directory, instance: Workload): boolean {
  return instance.addresses.some((ip) =>
    directory.workloadsAt(ip).some((other) => !isInstance(other) && isNeighbour(instance, other)),
  );
}

function isNeighbour(instance: Workload, { network, protocol, hbonePort }: Workload): boolean {
  return !isOtherNetwork(network, instance.network) && (protocol === "none" || hbonePort !== instance.hbonePort);
}

function sharesAddress(a: Workload, b: Workload): boolean {
  return !isOtherNetwork(a.network, b.network) && a.addresses.some((ip) => b.addresses.includes(ip));
}

/** Whether a waypoint serves the account of a workload; only one of placement `service-account` does not serve all. */
function isOfAccount(waypoint: Waypoint, { namespace, serviceAccount }: Workload): boolean {
  if (waypoint.placement !== "service-account") return true;
  return namespace === waypoint.namespace && serviceAccount === waypoint.forServiceAccount;
}

/** Whether a workload is an instance of some Gateway, which stands before others and has nobody beside it. */
export function isInstance(workload: Workload): boolean {
  return workload.labels.has(GATEWAY_NAME_LABEL);
}

function isInstanceOf(workload: Workload, { namespace, name }: WaypointRef): boolean {
  return workload.namespace === namespace && workload.labels.get(GATEWAY_NAME_LABEL) === name;
}
