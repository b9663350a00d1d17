// Pure. Which resources the connections of a namespace to one destination need.
import { parseIp } from "../../net/ip.ts";
import { CLUSTER_DOMAIN } from "../../workload/directory.ts";
import type { ResourceIndex } from "./resource-index.ts";
import { hostTopics, ipTopics } from "./topics.ts";
import { isDestination, mayBeSeen, Walk, type Scope } from "./walk.ts";

/**
 * What connections of a namespace to a destination need: whatever `resolve` and DNS may find under that name or address, as far
 * as the namespace may see it, with endpoints, waypoints and gateways into other networks.
 *
 * @param key `host/NAME`, as an app says it in lower case, or `ip/ADDRESS`
 */
export function destinationScope(index: ResourceIndex, callerNamespace: string, key: string): Scope {
  const walk = new Walk(index, callerNamespace);
  const slash = key.indexOf("/");
  const rest = key.slice(slash + 1);
  const ip = key.slice(0, slash) === "ip" ? parseIp(rest) : undefined;
  const topics = ip === undefined ? namesOf(rest, callerNamespace) : ipTopics(ip);
  for (const topic of topics) {
    for (const resource of walk.under(topic)) {
      if (isDestination(resource) && mayBeSeen(resource, callerNamespace)) walk.reach(resource);
    }
  }
  return walk;
}

/** The names that DNS and `resolve` try for one that an app says, and the headless service that it may name a workload of. */
function namesOf(host: string, callerNamespace: string): ReadonlySet<string> {
  const topics = new Set<string>();
  const suffixes = [`.${callerNamespace}.svc.${CLUSTER_DOMAIN}`, `.svc.${CLUSTER_DOMAIN}`, `.${CLUSTER_DOMAIN}`];
  const spellings = [host];
  for (const end of suffixes) if (host.endsWith(end)) spellings.push(host.slice(0, -end.length));
  for (const name of spellings) {
    for (const topic of hostTopics(name, callerNamespace)) topics.add(topic);
    const dot = name.indexOf(".");
    if (dot < 0) continue;
    for (const topic of hostTopics(name.slice(dot + 1), callerNamespace)) topics.add(topic);
  }
  return topics;
}
