// Pure. What a resource can be found under: the topics of each, which are what a scope asks for, and what tells who is concerned
// when it changes.
import { parseCidr, ipFamily, type Ip } from "../../net/ip.ts";
import { CLUSTER_DOMAIN } from "../../workload/directory.ts";
import { virtualCandidates } from "../../workload/virtual-address.ts";
import { namedWaypoint, type Labels } from "../../workload/waypoint-of.ts";
import type { BackendRef } from "../http-route.ts";
import { NETWORK_LABEL } from "../resources/metadata.ts";
import type {
  AuthorizationPolicyResource,
  EndpointPlace,
  FilterDraft,
  Resource,
  ServiceEntryResource,
  ServiceResource,
} from "../resources/resource.ts";
import { titleOf } from "../resources/title.ts";

/** Every resource that may be a destination: only who must know all addresses asks for it. */
export const EVERYTHING = "all";
/** Places that are given by a DNS name: any address may turn out to be theirs. */
export const NAMED_PLACES = "named";

/** One resource by its title. */
export function idTopic(kind: Resource["kind"], namespace: string, name: string): string {
  return kind === "Namespace" ? `id ${kind} ${name}` : `id ${kind} ${namespace}/${name}`;
}

/** Workloads of a namespace with a label. */
export function labelTopic(namespace: string, name: string, value: string): string {
  return `label ${namespace} ${name}=${value}`;
}

/** Services and ServiceEntries of a namespace whose selector has that label as its first. */
export function selectsTopic(namespace: string, name: string, value: string): string {
  return `selects ${namespace} ${name}=${value}`;
}

/** What is at an address. */
export function addressTopic(ip: Ip): string {
  return `at ${ip}`;
}

/** Gateways into a network. */
export function networkTopic(network: string): string {
  return `network ${network}`;
}

/** Workloads of an account. */
export function accountTopic(namespace: string, serviceAccount: string): string {
  return `account ${namespace} ${serviceAccount}`;
}

/** What a namespace holds of a kind of things. */
export function insideTopic(what: "destinations" | "policies" | "peers", namespace: string): string {
  return `${what} in ${namespace}`;
}

/** What names a waypoint by its label, or shares the traffic of one with it. */
export function waypointTopic(namespace: string, name: string): string {
  return `waypoint ${namespace}/${name}`;
}

/** Routes with a parent, and policies about a Service. */
export function targetTopic(kind: "service" | "entry", namespace: string, name: string): string {
  return `target ${kind} ${namespace}/${name}`;
}

/** What a host name may mean in a namespace: a Service by its title, and ServiceEntries by their hosts, wildcards too. */
export function hostTopics(host: string, callerNamespace: string): readonly string[] {
  const topics: string[] = [];
  const name = host.endsWith(".") ? host.slice(0, -1) : host;
  const short = name.endsWith(`.svc.${CLUSTER_DOMAIN}`) ? name.slice(0, -CLUSTER_DOMAIN.length - 1) : name;
  const [service = "", namespace = callerNamespace, svc = "svc", ...rest] = short.split(".", 4);
  if (svc === "svc" && rest.length === 0) topics.push(idTopic("Service", namespace, service));
  topics.push(`host ${name}`);
  for (let dot = name.indexOf("."); dot >= 0; dot = name.indexOf(".", dot + 1)) topics.push(`host *${name.slice(dot)}`);
  return topics;
}

/** What may be meant by an address: what is at it, or has a block around it. */
export function ipTopics(ip: Ip): readonly string[] {
  const topics = [addressTopic(ip), NAMED_PLACES];
  for (let bits = ipFamily(ip) === 4 ? 32 : 128; bits >= 0; bits -= 1) {
    const block = parseCidr(`${ip}/${bits}`);
    if (block !== undefined) topics.push(`block ${block.text}`);
  }
  return topics;
}

/** The hosts for which a virtual address is made. */
export function virtualHosts(resource: Resource): readonly string[] {
  if (resource.kind === "Service") {
    const { namespace, name } = resource.metadata;
    return resource.vips.length > 0 || resource.headless ? [] : [`${name}.${namespace}.svc.${CLUSTER_DOMAIN}`];
  }
  if (resource.kind !== "ServiceEntry" || resource.vips.length > 0 || resource.resolution === "none") return [];
  return resource.hosts.filter((host) => !host.startsWith("*"));
}

/** The network of a place. */
export function networkOf({ network, labels }: Pick<EndpointPlace, "network" | "labels">): string {
  return network ?? labels.get(NETWORK_LABEL) ?? "";
}

/** Everything that a resource is found under; each once. */
export function topicsOf(resource: Resource): ReadonlySet<string> {
  const { metadata } = resource;
  const { namespace } = metadata;
  const topics = new Set([`id ${titleOf(resource)}`]);
  switch (resource.kind) {
    case "Namespace":
      addWaypoint(namedWaypoint(metadata.labels, metadata.name), topics);
      break;
    case "Service":
      addDestination(namespace, metadata.labels, topics);
      addNamed(resource, topics);
      break;
    case "ServiceEntry":
      addDestination(namespace, metadata.labels, topics);
      addNamed(resource, topics);
      for (const host of resource.hosts) topics.add(`host ${host}`);
      for (const { text } of resource.cidrs) topics.add(`block ${text}`);
      for (const place of resource.endpoints) addPlace(place, topics);
      // Each host stands for itself.
      if (resource.resolution === "dns" && resource.endpoints.length === 0) topics.add(NAMED_PLACES);
      break;
    case "WorkloadEntry":
      addDestination(namespace, resource.labels, topics);
      addPlace(resource, topics);
      topics.add(accountTopic(namespace, resource.serviceAccount));
      for (const [name, value] of resource.labels) topics.add(labelTopic(namespace, name, value));
      break;
    case "Gateway":
      if (resource.entersNetwork !== undefined) topics.add(networkTopic(resource.entersNetwork));
      for (const { ref } of resource.waypoint?.shares ?? []) addWaypoint(ref, topics);
      break;
    case "AuthorizationPolicy":
      addTarget(resource, topics);
      break;
    case "PeerAuthentication":
      topics.add(insideTopic("peers", namespace));
      break;
    case "HTTPRoute":
    case "GRPCRoute":
    case "TCPRoute":
    case "TLSRoute":
      for (const parent of resource.route.parents) {
        topics.add(targetTopic(parent.kind, parent.namespace, parent.name));
      }
      break;
    case "BackendTLSPolicy":
      for (const { name } of resource.policy.targets) topics.add(targetTopic("service", namespace, name));
      break;
    case "HTTPFilter":
    case "ConfigMap":
    case "Secret":
    case "ReferenceGrant":
  }
  return topics;
}

/** What a route sends to, mirrors to and takes filters from. */
export function referencesOf(resource: Resource): { backends: readonly BackendRef[]; filters: readonly string[] } {
  const backends: BackendRef[] = [];
  const names: string[] = [];
  const addFilters = (filters: readonly FilterDraft[]): void => {
    for (const filter of filters) {
      if (filter.kind === "extension") names.push(filter.name);
      if (filter.kind === "mirror") backends.push(filter.backend);
    }
  };
  if (resource.kind === "HTTPRoute" || resource.kind === "GRPCRoute") {
    for (const rule of resource.route.rules) {
      addFilters(rule.filters);
      for (const backend of rule.backends) {
        backends.push(backend);
        addFilters(backend.filters);
      }
    }
  } else if (resource.kind === "TCPRoute" || resource.kind === "TLSRoute") {
    for (const rule of resource.route.rules) backends.push(...rule.backends);
  }
  return { backends, filters: names };
}

/** What connections may lead to. */
function addDestination(namespace: string, labels: Labels, topics: Set<string>): void {
  topics.add(EVERYTHING).add(insideTopic("destinations", namespace));
  addWaypoint(namedWaypoint(labels, namespace), topics);
}

function addWaypoint(ref: ReturnType<typeof namedWaypoint>, topics: Set<string>): void {
  if (ref !== undefined && ref !== "none") topics.add(waypointTopic(ref.namespace, ref.name));
}

/** The addresses and the selector of what has a name. */
function addNamed(resource: ServiceResource | ServiceEntryResource, topics: Set<string>): void {
  for (const vip of resource.vips) topics.add(addressTopic(vip));
  const [first] = [...(resource.selector ?? [])].toSorted(([a], [b]) => (a < b ? -1 : 1));
  if (first !== undefined) topics.add(selectsTopic(resource.metadata.namespace, ...first));
  for (const host of virtualHosts(resource)) for (const ip of virtualCandidates(host)) topics.add(addressTopic(ip));
}

function addTarget({ metadata, policy }: AuthorizationPolicyResource, topics: Set<string>): void {
  const { namespace } = metadata;
  if (policy.target.kind !== "refs") {
    topics.add(insideTopic("policies", namespace));
    return;
  }
  for (const { kind, name } of policy.target.refs) {
    if (kind === "Gateway") topics.add(waypointTopic(namespace, name));
    else topics.add(targetTopic(kind === "Service" ? "service" : "entry", namespace, name));
  }
}

function addPlace({ address }: EndpointPlace, topics: Set<string>): void {
  topics.add(address.kind === "ip" ? addressTopic(address.ip) : NAMED_PLACES);
}
