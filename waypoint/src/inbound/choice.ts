// Pure. What the routes of a service have chosen for one request.
import type { HttpRouteRule } from "@culvert/shared/config/http-route.ts";
import { PLAIN_CHOICE, type RouteChoice } from "../exchange-services.ts";
import { EndpointGroup } from "../upstream/balance.ts";
import type { UpstreamEndpoint } from "../upstream/endpoints.ts";

/** What `RequestServices` needs to know of its own choice. */
export interface Choice extends RouteChoice {
  readonly group: EndpointGroup;
  /** Goes before all others until it was tried: the endpoint of the session that the request is part of. */
  readonly pinned: UpstreamEndpoint | undefined;
  /** Where copies go. */
  readonly mirrors: readonly EndpointGroup[];
}

const NOWHERE = new EndpointGroup("", []);
const NO_MIRRORS: readonly EndpointGroup[] = [];

/** Just one of these endpoints. */
export function plainChoice(group: EndpointGroup): Choice {
  return { ...PLAIN_CHOICE, group, pinned: undefined, mirrors: NO_MIRRORS };
}

/** What a rule chooses: a group of endpoints, or with `answer` none. */
export function ruleChoice(rule: HttpRouteRule, parts: Partial<Choice>): Choice {
  return {
    ...PLAIN_CHOICE,
    timeoutMs: rule.timeouts.requestMs,
    attemptTimeoutMs: rule.timeouts.backendRequestMs,
    retry: rule.retry,
    group: NOWHERE,
    pinned: undefined,
    mirrors: NO_MIRRORS,
    ...parts,
  };
}
