// Pure. Which fields of a request's head are read, by routes, their filters and the log, and where each is found.
import type { RequestHead } from "../http/message.ts";
import { filterFields } from "../filter/rule-plan.ts";
import { HeaderSlots } from "../http1/header-slots.ts";
import type { RouteGroup } from "../route/route-group.ts";

const USER_AGENT = "user-agent";
const FORWARDED_FOR = "x-forwarded-for";
const CONTENT_TYPE = "content-type";
const GRPC_TIMEOUT = "grpc-timeout";

/** Compiled once for each group of routes. */
export interface HeaderPlan {
  readonly slots: HeaderSlots;
  readonly userAgent: number;
  readonly forwardedFor: number;
  readonly contentType: number;
  readonly grpcTimeout: number;
  /** Slots of `RouteGroup.headerNames`, in their order. */
  readonly routed: readonly number[];
}

const NO_VALUES: readonly undefined[] = [];
const plans = new WeakMap<RouteGroup, HeaderPlan>();
const WITHOUT_ROUTES = compile([], []);

/** The plan for requests that `group` routes. */
export function headerPlan(group: RouteGroup | undefined): HeaderPlan {
  if (group === undefined) return WITHOUT_ROUTES;
  let plan = plans.get(group);
  if (plan === undefined) {
    const rules = group.routes.flatMap((route) => route.rules);
    plan = compile(group.headerNames, rules.flatMap(filterFields));
    plans.set(group, plan);
  }
  return plan;
}

function compile(names: readonly string[], ofFilters: readonly string[]): HeaderPlan {
  const own = [USER_AGENT, FORWARDED_FOR, CONTENT_TYPE, GRPC_TIMEOUT];
  const slots = new HeaderSlots([...own, ...names, ...ofFilters]);
  const slotOf = (name: string): number => slots.slotOf(name) ?? -1;
  return {
    slots,
    userAgent: slotOf(USER_AGENT),
    forwardedFor: slotOf(FORWARDED_FOR),
    contentType: slotOf(CONTENT_TYPE),
    grpcTimeout: slotOf(GRPC_TIMEOUT),
    routed: names.map(slotOf),
  };
}

/** The values of the headers that routes look at, in the order of `RouteGroup.headerNames`. Most routes look at none. */
export function routedValues({ routed }: HeaderPlan, head: RequestHead): readonly (string | undefined)[] {
  return routed.length === 0 ? NO_VALUES : routed.map((slot) => joinedValue(head, slot));
}

/** The values of all lines of a field, by its name. */
export function valuesOf({ slots }: HeaderPlan, head: RequestHead, name: string): string[] {
  const slot = slots.slotOf(name) ?? -1;
  const values: string[] = [];
  for (let i = 0; i < head.fieldCount(slot); i++) values.push(head.fieldValue(slot, i) ?? "");
  return values;
}

/** The value of a field; of repeated ones all, joined as RFC 9110 section 5.3 says. `undefined` when there is none. */
export function joinedValue(head: RequestHead, slot: number): string | undefined {
  const first = head.fieldValue(slot, 0);
  const count = head.fieldCount(slot);
  if (first === undefined || count < 2) return first;
  const values = [first];
  for (let i = 1; i < count; i++) values.push(head.fieldValue(slot, i) ?? "");
  return values.join(", ");
}
