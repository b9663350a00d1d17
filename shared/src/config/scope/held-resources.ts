// Pure. What a waypoint holds of a folder of resources: an authority would tell it no more than its scope.
import { isSameGateway } from "../../workload/directory.ts";
import type { WaypointRef } from "../../workload/workload.ts";
import type { ParsedResources } from "../resources/resource.ts";
import { titleOf } from "../resources/title.ts";
import { ResourceIndex } from "./resource-index.ts";
import { waypointScope } from "./waypoint-scope.ts";

/** What an instance of a Gateway holds of a folder: with placement `service-account` no more than what it serves. */
export function heldResources(all: ParsedResources, gateway: WaypointRef): ParsedResources {
  const own = all.resources.find(({ kind, metadata }) => kind === "Gateway" && isSameGateway(metadata, gateway));
  const isNarrow = own?.kind === "Gateway" && own.waypoint?.placement === "service-account";
  return isNarrow ? waypointResources(all, gateway) : all;
}

/** The resources of a waypoint's scope, in their order. */
export function waypointResources({ resources, problems }: ParsedResources, gateway: WaypointRef): ParsedResources {
  const { ids } = waypointScope(new ResourceIndex(resources), gateway);
  return {
    resources: resources.filter((resource) => ids.has(titleOf(resource))),
    problems: problems.filter(({ resource }) => ids.has(resource)),
  };
}
