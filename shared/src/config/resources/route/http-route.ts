// Pure. gateway.networking.k8s.io HTTPRoute. What a rule does and Culvert cannot do makes that rule answer 500; what a rule matches
// by and Culvert cannot tell apart makes the whole route answer 500, because any request might be meant.
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import type { HttpRouteDraft, HttpRouteResource, HttpRuleDraft, Metadata } from "../resource.ts";
import { parseHttpBackends } from "./backends.ts";
import { atMost, ROUTE_LIMITS } from "./bounds.ts";
import { HTTP_FILTERS, parseFilters } from "./filters.ts";
import { parseMatches } from "./matches.ts";
import { identify, parseHostnames, parseParents, parseRuleName, requireSpec } from "./parents.ts";
import { parsePersistence, parseRetry, parseTimeouts } from "./resilience.ts";

/** A rule that says nothing: it is for all requests, and leads nowhere. */
export const PLAIN_RULE: HttpRuleDraft = {
  name: undefined,
  matches: [],
  filters: [],
  backends: [],
  timeouts: { requestMs: 0, backendRequestMs: 0 },
  retry: undefined,
  persistence: undefined,
  notUnderstood: undefined,
};

/** What a rule is read with beside its own fields and report. */
export interface RuleContext {
  readonly metadata: Metadata;
  /** What was said of the route as a whole. */
  readonly route: Report;
  /** Names of the rules before it. */
  readonly names: Set<string>;
  /** Rules before it. */
  readonly index: number;
}

type ReadRule = (fields: Fields, rule: Report, context: RuleContext) => HttpRuleDraft;

/** Reads the `spec` of an HTTPRoute. `report` is the route's; each rule has its own. */
export function parseHttpRoute(
  metadata: Metadata,
  given: Fields | undefined,
  report: Report,
): HttpRouteResource | undefined {
  const read = readRoute("HTTPRoute", metadata, given, report, parseRule);
  return read === undefined ? undefined : { kind: "HTTPRoute", metadata, ...read };
}

/** What an HTTPRoute and a GRPCRoute are read as, but for their rules. */
export function readRoute(
  kind: HttpRouteDraft["kind"],
  metadata: Metadata,
  given: Fields | undefined,
  report: Report,
  readRule: ReadRule,
): Pick<HttpRouteResource, "gateways" | "route"> | undefined {
  const spec = requireSpec(metadata, given, report);
  if (spec === undefined) return undefined;
  const { parents, gateways } = parseParents(metadata, spec, report);
  const hostnames = [...parseHostnames(spec, report)];
  atMost(spec, "rules", ROUTE_LIMITS.rules, report);
  const names = new Set<string>();
  const rules: HttpRuleDraft[] = [];
  for (const { fields, report: rule } of spec.each("rules", () => report.part())) {
    rules.push(readRule(fields, rule, { metadata, route: report, names, index: rules.length }));
  }
  // An absent list of rules is one rule that matches everything and has no backend (Gateway API default).
  if (spec.get("rules") === undefined) rules.push(PLAIN_RULE);
  checkMatches(rules, spec, report);
  spec.end();
  const id = identify(metadata);
  return { gateways, route: { kind, ...id, parents, hostnames, rules, notUnderstood: report.reason } };
}

/** Reports a route with more matches in all than it may have. */
function checkMatches(rules: readonly HttpRuleDraft[], spec: Fields, report: Report): void {
  const count = rules.reduce((sum, { matches }) => sum + matches.length, 0);
  if (count <= ROUTE_LIMITS.matchesPerRoute) return;
  const text = `expected at most ${ROUTE_LIMITS.matchesPerRoute} matches in all, found ${count}`;
  report.malformed(spec.node, spec.at("rules"), text);
}

function parseRule(fields: Fields, rule: Report, { metadata, route, names, index }: RuleContext): HttpRuleDraft {
  const name = parseRuleName(fields, names, rule);
  const matches = parseMatches(fields, route);
  const filters = parseFilters(metadata, fields, { level: "rule", matches, types: HTTP_FILTERS }, rule);
  const backends = parseHttpBackends(metadata, fields, matches, HTTP_FILTERS, rule);
  const timeouts = parseTimeouts(fields, rule);
  const retry = parseRetry(fields, rule);
  const persistence = parsePersistence(fields, `${metadata.namespace}/${metadata.name} ${index}`, rule);
  fields.end();
  if (backends.length > 0 && filters.some(({ kind }) => kind === "redirect")) {
    const text = "RequestRedirect and backendRefs exclude each other";
    rule.notUnderstood(fields.node, fields.at("filters"), text, "IncompatibleFilters");
  }
  return { name, matches, filters, backends, timeouts, retry, persistence, notUnderstood: rule.reason };
}
