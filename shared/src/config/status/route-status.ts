// Pure. The status of a route: for each of its parents whether it is accepted there, and whether its references lead somewhere.
import type { Attachment } from "../routing/attach.ts";
import type { RouteParent } from "../http-route.ts";
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

/** The status of a route with its parents as they were written. */
export function routeStatus(
  route: StatusRoute,
  attachments: readonly Attachment[],
  verdicts: Verdicts,
): ResourceStatus {
  const refused = refusalOf(route, verdicts);
  const dropped = refused === undefined ? [...droppedRules(route)] : [];
  const parents = attachments.map(({ parent, refused: notHere }) => {
    const conditions: Condition[] = [verdicts.accepted(notHere ?? refused), verdicts.resolvedRefs()];
    if (notHere === undefined && dropped.length > 0) conditions.push(verdicts.partiallyInvalid(dropped));
    return { ref: refOf(parent), conditions };
  });
  return { kind: route.kind, namespace: route.namespace, name: route.name, parents };
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

function refOf({ kind, namespace, name, port, sectionName }: RouteParent): ObjectRef {
  const isEntry = kind === "entry";
  return {
    group: isEntry ? "networking.istio.io" : "",
    kind: isEntry ? "ServiceEntry" : "Service",
    namespace,
    name,
    ...(sectionName === undefined ? {} : { sectionName }),
    ...(port === undefined ? {} : { port }),
  };
}
