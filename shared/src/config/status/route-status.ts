// Pure. The status of a route: for each of its parents whether it is accepted there, and whether its references lead somewhere.
import type { Attachment } from "../routing/attach.ts";
import type { RouteParent } from "../http-route.ts";
import type { GatewayParent } from "../resources/resource.ts";
import type { Condition, ObjectRef, ResourceStatus } from "./condition.ts";
import type { Refusal, Verdicts } from "./verdicts.ts";

/** A route of any kind, as far as its status goes. */
export interface StatusRoute {
  readonly kind: Exclude<ResourceStatus["kind"], "BackendTLSPolicy">;
  readonly namespace: string;
  readonly name: string;
  readonly rules: readonly { readonly name: string | undefined; readonly notUnderstood?: string | undefined }[];
  readonly notUnderstood: string | undefined;
}

/** Why no route applies to a waypoint itself. */
export const WAYPOINT_TAKES_NONE = "a waypoint has no listener for routes: attach them to the Services that it is for";

/**
 * The status of a route with its parents as they were written.
 *
 * @param waypoints those among its parents
 */
export function routeStatus(
  route: StatusRoute,
  attachments: readonly Attachment[],
  waypoints: readonly GatewayParent[],
  verdicts: Verdicts,
): ResourceStatus {
  const refused = refusalOf(route, verdicts);
  const dropped = refused === undefined ? [...droppedRules(route)] : [];
  const parents = attachments.map(({ parent, refused: notHere }) => {
    const conditions: Condition[] = [verdicts.accepted(notHere ?? refused), verdicts.resolvedRefs()];
    if (notHere === undefined && dropped.length > 0) conditions.push(verdicts.partiallyInvalid(dropped));
    return { ref: refOf(parent), conditions };
  });
  const notAllowed = waypoints.map((waypoint) => ({
    ref: objectRef("gateway.networking.k8s.io", "Gateway", waypoint),
    conditions: [
      verdicts.accepted({ reason: "NotAllowedByListeners", text: WAYPOINT_TAKES_NONE }),
      verdicts.resolvedRefs(),
    ],
  }));
  return { kind: route.kind, namespace: route.namespace, name: route.name, parents: [...parents, ...notAllowed] };
}

/** A route is accepted when at least one of its rules is served (Gateway API, RouteParentStatus.conditions). */
function refusalOf({ rules, notUnderstood }: StatusRoute, verdicts: Verdicts): Refusal | undefined {
  if (notUnderstood !== undefined) return verdicts.refusal(notUnderstood);
  const [first] = rules;
  if (first?.notUnderstood === undefined || rules.some((rule) => rule.notUnderstood === undefined)) return undefined;
  return verdicts.refusal(first.notUnderstood);
}

function* droppedRules({ rules }: StatusRoute): Generator<string> {
  for (const [index, { name, notUnderstood }] of rules.entries()) {
    if (notUnderstood !== undefined) yield `${name ?? `rules[${index}]`}: ${notUnderstood}`;
  }
}

function refOf(parent: RouteParent): ObjectRef {
  return parent.kind === "entry"
    ? objectRef("networking.istio.io", "ServiceEntry", parent)
    : objectRef("", "Service", parent);
}

function objectRef(
  group: string,
  kind: ObjectRef["kind"],
  { namespace, name, port, sectionName }: GatewayParent,
): ObjectRef {
  return {
    group,
    kind,
    namespace,
    name,
    ...(sectionName === undefined ? {} : { sectionName }),
    ...(port === undefined ? {} : { port }),
  };
}
