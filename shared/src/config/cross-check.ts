// Pure. What is wrong between resources: two of one name or one address, and references that lead nowhere.
import type { Directory } from "../workload/directory.ts";
import { namedWaypoint, USE_WAYPOINT_LABEL } from "../workload/waypoint-of.ts";
import type { Service } from "../workload/workload.ts";
import type { BackendRef } from "./http-route.ts";
import { WAYPOINT_WEIGHTS_ANNOTATION } from "./resources/metadata.ts";
import type { Metadata, Resource } from "./resources/resource.ts";
import { titleOf } from "./resources/title.ts";
import type { Problem } from "./snapshot.ts";

/** Two resources of one kind, namespace and name, and two Services with one cluster IP: each is an error at the second. */
export function* duplicates(resources: readonly Resource[]): Generator<Problem> {
  const names = new Map<string, Metadata>();
  const addresses = new Map<string, Metadata>();
  for (const resource of resources) {
    const first = names.get(titleOf(resource));
    if (first === undefined) names.set(titleOf(resource), resource.metadata);
    else yield problem(resource, "error", "metadata.name", `is there twice, first at ${placeOf(first)}`);
    if (resource.kind !== "Service" || first !== undefined) continue;
    for (const vip of resource.vips) {
      const owner = addresses.get(vip);
      if (owner === undefined) addresses.set(vip, resource.metadata);
      else
        yield problem(
          resource,
          "error",
          "spec.clusterIP",
          `${vip} is already taken by the Service at ${placeOf(owner)}`,
        );
    }
  }
}

/** Two ServiceEntries of one namespace for one host: the first counts. */
function* repeatedHosts(resources: readonly Resource[]): Generator<Problem> {
  const hosts = new Map<string, Metadata>();
  for (const resource of resources) {
    if (resource.kind !== "ServiceEntry") continue;
    for (const host of resource.hosts) {
      const uid = `${resource.metadata.namespace}/${host}`;
      const first = hosts.get(uid);
      if (first === undefined) hosts.set(uid, resource.metadata);
      else yield problem(resource, "not-understood", "spec.hosts", `${host} is already in that at ${placeOf(first)}`);
    }
  }
}

/** References to what is not there. None of them opens a way: a missing waypoint serves nobody. */
export function* danglingReferences(resources: readonly Resource[], directory: Directory): Generator<Problem> {
  yield* repeatedHosts(resources);
  const named = new Set(resources.map(({ kind, metadata }) => `${kind} ${metadata.namespace}/${metadata.name}`));
  for (const resource of resources) {
    const report = (path: string, text: string): Problem => problem(resource, "not-understood", path, text);
    const { kind, metadata } = resource;
    if (kind === "Service" || kind === "ServiceEntry" || kind === "WorkloadEntry" || kind === "Namespace") {
      const labels = kind === "WorkloadEntry" ? resource.labels : metadata.labels;
      const ref = namedWaypoint(labels, kind === "Namespace" ? metadata.name : metadata.namespace);
      if (ref !== undefined && ref !== "none" && directory.waypoint(ref) === undefined) {
        yield report(`metadata.labels["${USE_WAYPOINT_LABEL}"]`, `there is no waypoint ${ref.namespace}/${ref.name}`);
      }
    } else if (kind === "Gateway" && resource.waypoint !== undefined) {
      for (const { ref } of resource.waypoint.shares) {
        if (directory.waypoint(ref) !== undefined) continue;
        const path = `metadata.annotations["${WAYPOINT_WEIGHTS_ANNOTATION}"]`;
        yield report(path, `there is no waypoint ${ref.namespace}/${ref.name}`);
      }
    } else if (kind === "AuthorizationPolicy" && resource.policy.target.kind === "refs") {
      for (const [index, ref] of resource.policy.target.refs.entries()) {
        const uid = `${metadata.namespace}/${ref.name}`;
        if (!named.has(`${ref.kind} ${uid}`))
          yield report(`spec.targetRefs[${index}]`, `there is no ${ref.kind} ${uid}`);
      }
    }
  }
}

/** Why a backend cannot be served, as far as that depends on Services and hosts. */
export function missingBackend(backend: BackendRef, directory: Directory): string | undefined {
  const service = backendService(backend, directory);
  const title = backend.kind === "host" ? `host ${backend.name}` : `Service ${backend.namespace}/${backend.name}`;
  if (service === undefined) return `there is no ${title}`;
  return service.ports.some(({ port }) => port === backend.port) ? undefined : `${title} has no port ${backend.port}`;
}

/** What a backend names; a host as the route's namespace sees it. */
export function backendService(
  { kind, namespace, name }: Pick<BackendRef, "kind" | "namespace" | "name">,
  directory: Directory,
): Service | undefined {
  return kind === "host" ? directory.serviceByHost(name, namespace) : serviceNamed(directory, `${namespace}/${name}`);
}

/** What a route names as a Service; the host of a ServiceEntry is none. */
export function serviceNamed(directory: Directory, uid: string): Service | undefined {
  const service = directory.service(uid);
  return service?.entry === undefined ? service : undefined;
}

function problem({ kind, metadata }: Resource, severity: Problem["severity"], path: string, text: string): Problem {
  const resource = titleOf({ kind, metadata });
  return { file: metadata.source, line: metadata.line, resource, path, text, severity };
}

function placeOf({ source, line }: Metadata): string {
  return `${source}:${line}`;
}
