// Pure. What one rule does to the requests that it serves, compiled at its first request in a snapshot. A rule that does nothing
// has no plan and costs nothing.
import type { HttpRoute, HttpRouteBackend, HttpRouteMatch, HttpRouteRule } from "@culvert/shared/config/http-route.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { compileFilters, filterProblem, NO_STEPS, type FilterSteps } from "./filter-steps.ts";
import { sessionProblem, SessionRules } from "./session-rules.ts";

/** A rule, by one of its matches. */
export interface PlannedRule {
  readonly route: HttpRoute;
  readonly rule: HttpRouteRule;
  /** As the log has it. */
  readonly name: string;
  readonly match: HttpRouteMatch;
}

/** See the head of the file. */
export class RulePlan {
  /** Route and rule, for failures and the log. */
  readonly where: string;
  /** The path of the match, for the rewriting of prefixes. */
  readonly prefix: string;
  readonly steps: FilterSteps;
  readonly sessions: SessionRules | undefined;
  readonly #ofBackends: ReadonlyMap<HttpRouteBackend, FilterSteps>;

  constructor({ route, rule, match, name }: PlannedRule) {
    this.where = `${route.uid} ${name}`;
    this.prefix = match.path.value;
    this.steps = compileFilters(rule.filters);
    this.#ofBackends = new Map(rule.backends.map((backend) => [backend, compileFilters(backend.filters)]));
    const { persistence } = rule;
    // An index would move with every rule that is put before it, and all sessions would be lost.
    const scope = `${route.uid} ${rule.name ?? JSON.stringify(rule.matches)}`;
    this.sessions = persistence === undefined ? undefined : new SessionRules(persistence, scope, match);
  }

  stepsOf(backend: HttpRouteBackend): FilterSteps {
    return this.#ofBackends.get(backend) ?? NO_STEPS;
  }
}

const plans = new WeakMap<PlannedRule, RulePlan | Failure>();

/** The plan of a rule; `undefined`: it only leads somewhere. ROUTE_NOT_UNDERSTOOD when a filter must not be served. */
export function rulePlan(routed: PlannedRule): RulePlan | Failure | undefined {
  if (!doesSomething(routed.rule)) return undefined;
  let plan = plans.get(routed);
  if (plan === undefined) {
    plan = compile(routed);
    plans.set(routed, plan);
  }
  return plan;
}

/** The fields of a request that the filters of a rule look at, lower case. */
export function filterFields(rule: HttpRouteRule): string[] {
  const filters = [...rule.filters, ...rule.backends.flatMap((backend) => backend.filters)];
  const names: string[] = [];
  if (filters.some(({ kind }) => kind === "cors")) names.push(...CORS_FIELDS);
  if (filters.some((filter) => filter.kind === "fault" && filter.fault.abort !== undefined)) names.push("content-type");
  const { persistence } = rule;
  if (persistence !== undefined) names.push(persistence.type === "cookie" ? "cookie" : persistence.name.toLowerCase());
  return names;
}

const CORS_FIELDS = ["origin", "access-control-request-method", "access-control-request-headers"] as const;

function doesSomething(rule: HttpRouteRule): boolean {
  if (rule.filters.length > 0 || rule.persistence !== undefined) return true;
  for (const backend of rule.backends) if (backend.filters.length > 0) return true;
  return false;
}

function compile(routed: PlannedRule): RulePlan | Failure {
  const { rule } = routed;
  const only = rule.matches.length === 1 ? rule.matches[0]?.path : undefined;
  const prefix = rule.matches.length === 0 ? "/" : only?.kind === "prefix" ? only.value : undefined;
  let problem = rule.persistence === undefined ? undefined : sessionProblem(rule.persistence);
  for (const { filters } of [rule, ...rule.backends]) problem ??= filterProblem(filters, prefix);
  if (problem === undefined) return new RulePlan(routed);
  return fail("ROUTE_NOT_UNDERSTOOD", `${routed.route.uid} ${routed.name}: ${problem}`);
}
