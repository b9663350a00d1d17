// Pure. Which endpoint of a group a session belongs to.
import type { SessionKey } from "../filter/session-key.ts";
import type { KnownSession } from "../filter/session-rules.ts";
import type { EndpointGroup } from "../upstream/balance.ts";
import type { UpstreamEndpoint } from "../upstream/endpoints.ts";

/** By key, the endpoints of a group by their tags. */
type Tags = Map<SessionKey, ReadonlyMap<string, UpstreamEndpoint>>;

/** Groups live as long as their snapshot, and so does what is made of them. */
const tagsOfGroups = new WeakMap<EndpointGroup, Tags>();

/** What a session is bound to: the same workload at the same address, in any snapshot and any instance of the waypoint. */
export function sessionName({ workload, address }: UpstreamEndpoint): string {
  return `${workload.uid} ${address}`;
}

/** The endpoint of a session; `undefined` when it is gone, or takes no requests. */
export function sessionEndpoint(group: EndpointGroup, { session, key }: KnownSession): UpstreamEndpoint | undefined {
  let tags = tagsOfGroups.get(group);
  if (tags === undefined) {
    tags = new Map();
    tagsOfGroups.set(group, tags);
  }
  let endpoints = tags.get(key);
  if (endpoints === undefined) {
    endpoints = new Map(group.endpoints.map((endpoint) => [key.tag(sessionName(endpoint)), endpoint]));
    tags.set(key, endpoints);
  }
  return endpoints.get(session.tag);
}
