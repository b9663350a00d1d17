// Pure. A status as Kubernetes keeps it: what goes into `.status` of a route or policy, and what people read of it.
import { CONTROLLER_NAME, type Condition, type ObjectRef, type ResourceStatus } from "./condition.ts";

/** A condition with the time since when it holds, RFC 3339. */
export interface TimedCondition extends Condition {
  readonly lastTransitionTime: string;
}

/** What one controller says of one parent. */
export interface RouteParentObject {
  readonly parentRef: ObjectRef;
  readonly controllerName: string;
  readonly conditions: readonly TimedCondition[];
}

/** What one controller says of one target of a policy. */
export interface PolicyAncestorObject {
  readonly ancestorRef: ObjectRef;
  readonly controllerName: string;
  readonly conditions: readonly TimedCondition[];
}

/** `.status` of a route, or of a policy. */
export type StatusObject =
  | { readonly parents: readonly RouteParentObject[] }
  | { readonly ancestors: readonly PolicyAncestorObject[] };

/** What stood there before; entries of other controllers are kept. */
interface Before {
  readonly parents?: readonly (RouteParentObject | PolicyAncestorObject)[];
  readonly ancestors?: readonly (RouteParentObject | PolicyAncestorObject)[];
}

/**
 * The object to write.
 *
 * @param now RFC 3339
 * @param before what stands there: a condition that says the same keeps its time, and what others have written stays
 */
export function statusObject(status: ResourceStatus, now: string, before: Before = {}): StatusObject {
  const known = before.parents ?? before.ancestors ?? [];
  const own = known.filter(({ controllerName }) => controllerName === CONTROLLER_NAME);
  const others = known.filter(({ controllerName }) => controllerName !== CONTROLLER_NAME);
  const conditionsOf = (ref: ObjectRef, conditions: readonly Condition[]): TimedCondition[] => {
    const last = own.find((entry) => sameRef("parentRef" in entry ? entry.parentRef : entry.ancestorRef, ref));
    return conditions.map((condition) => {
      const same = last?.conditions.find(
        ({ type, status: then }) => type === condition.type && then === condition.status,
      );
      return Object.assign({}, condition, { lastTransitionTime: same?.lastTransitionTime ?? now });
    });
  };
  const controllerName = CONTROLLER_NAME;
  if (status.kind === "BackendTLSPolicy") {
    const ancestors = status.parents.map(({ ref, conditions }) => ({
      ancestorRef: ref,
      controllerName,
      conditions: conditionsOf(ref, conditions),
    }));
    return { ancestors: [...(others as PolicyAncestorObject[]), ...ancestors] };
  }
  const parents = status.parents.map(({ ref, conditions }) => ({
    parentRef: ref,
    controllerName,
    conditions: conditionsOf(ref, conditions),
  }));
  return { parents: [...(others as RouteParentObject[]), ...parents] };
}

/** One line for each parent: `HTTPRoute shop/r for Service shop/reviews:80: Accepted, not ResolvedRefs (BackendNotFound: …)`. */
export function statusLines({ kind, namespace, name, parents }: ResourceStatus): string[] {
  return parents.map(({ ref, conditions }) => {
    const port = ref.port ?? ref.sectionName;
    const parent = `${ref.kind} ${ref.namespace}/${ref.name}${port === undefined ? "" : `:${port}`}`;
    const words = conditions.map(({ type, status, reason, message }) => {
      if (type === "PartiallyInvalid") return `${type} (${message})`;
      return status === "True" ? type : `not ${type} (${reason}: ${message})`;
    });
    return `${kind} ${namespace}/${name} for ${parent}: ${words.join(", ")}`;
  });
}

function sameRef(a: ObjectRef, b: ObjectRef): boolean {
  return (
    a.kind === b.kind &&
    a.namespace === b.namespace &&
    a.name === b.name &&
    a.port === b.port &&
    a.sectionName === b.sectionName
  );
}
