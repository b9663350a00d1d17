// Pure. What the routes of a service have chosen for one request.
import type { HttpRouteRule } from "@culvert/shared/config/http-route.ts";
import type { RouteChoice, RouteEdits } from "../exchange-services.ts";
import type { LocalAnswer } from "../local-answer.ts";
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

/** What the filters of a rule add to its choice. */
export interface Filtered {
  readonly delayMs: number;
  readonly answer: LocalAnswer | undefined;
  readonly edits: RouteEdits;
  readonly pinned: UpstreamEndpoint | undefined;
  readonly mirrors: readonly EndpointGroup[];
}

/** The group of answers that ask no application. */
export const NOWHERE: EndpointGroup = new EndpointGroup("", []);
const NO_MIRRORS: readonly EndpointGroup[] = [];

/**
 * One of these endpoints, under what the rule says of times. Written out, so that all choices are of one shape to the runtime.
 *
 * @param rule `undefined`: there are no routes
 */
export function choiceOf(
  group: EndpointGroup,
  rule: HttpRouteRule | undefined,
  filtered: Filtered | undefined,
): Choice {
  return {
    timeoutMs: rule === undefined ? 0 : rule.timeouts.requestMs,
    attemptTimeoutMs: rule === undefined ? 0 : rule.timeouts.backendRequestMs,
    retry: rule?.retry,
    delayMs: filtered === undefined ? 0 : filtered.delayMs,
    answer: filtered?.answer,
    edits: filtered?.edits,
    mirrored: filtered !== undefined && filtered.mirrors.length > 0,
    group,
    pinned: filtered?.pinned,
    mirrors: filtered === undefined ? NO_MIRRORS : filtered.mirrors,
  };
}
