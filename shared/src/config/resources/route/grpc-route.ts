// Pure. gateway.networking.k8s.io GRPCRoute, read as the HTTPRoute that it amounts to: calls are requests for `/service/method`.
import type { HttpPathMatch, HttpRouteMatch } from "../../http-route.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import type { GrpcRouteResource, HttpRuleDraft, Metadata } from "../resource.ts";
import { parseHttpBackends } from "./backends.ts";
import { atMost, ROUTE_LIMITS } from "./bounds.ts";
import { GRPC_FILTERS, parseFilters } from "./filters.ts";
import { PLAIN_RULE, readRoute, type RuleContext } from "./http-route.ts";
import { checkPattern, parseComparison, parseHeaderMatches } from "./matches.ts";
import { parseRuleName } from "./parents.ts";
import { parsePersistence } from "./resilience.ts";

const MOST_CHARACTERS = 1_024;
/** Any one segment of a path. */
const ANY = "[^/]+";

/** Reads the `spec` of a GRPCRoute. `report` is the route's; each rule has its own. */
export function parseGrpcRoute(
  metadata: Metadata,
  given: Fields | undefined,
  report: Report,
): GrpcRouteResource | undefined {
  const read = readRoute("GRPCRoute", metadata, given, report, parseRule);
  return read === undefined ? undefined : { kind: "GRPCRoute", metadata, ...read };
}

function parseRule(fields: Fields, rule: Report, { metadata, route, names, index }: RuleContext): HttpRuleDraft {
  const name = parseRuleName(fields, names, rule);
  const matches = parseMatches(fields, route);
  const filters = parseFilters(metadata, fields, { level: "rule", matches, types: GRPC_FILTERS }, rule);
  const backends = parseHttpBackends(metadata, fields, matches, GRPC_FILTERS, rule);
  const persistence = parsePersistence(fields, `${metadata.namespace}/${metadata.name} grpc ${index}`, rule);
  fields.end();
  return { ...PLAIN_RULE, name, matches, filters, backends, persistence, notUnderstood: rule.reason };
}

function parseMatches(rule: Fields, report: Report): HttpRouteMatch[] {
  atMost(rule, "matches", ROUTE_LIMITS.matchesPerRule, report);
  const matches: HttpRouteMatch[] = [];
  for (const { fields } of rule.each("matches", () => report)) {
    const path = parseMethod(fields.fields("method"), report);
    const headers = parseHeaderMatches(fields, report);
    fields.end();
    matches.push({ path, method: undefined, headers, query: [] });
  }
  return matches;
}

/** The path of a method, of all methods of a service, or of a method in all services. */
function parseMethod(fields: Fields | undefined, report: Report): HttpPathMatch {
  const everything = { kind: "prefix", value: "/" } as const;
  if (fields === undefined) return everything;
  const isExact = parseComparison(fields, report) === "exact";
  const accepts = isExact ? isName : isPattern;
  const service = fields.string("service", isExact ? "the name of a service" : "a regular expression", accepts);
  const method = fields.string("method", isExact ? "the name of a method" : "a regular expression", accepts);
  fields.end();
  if (service === undefined && method === undefined) {
    report.malformed(fields.node, fields.path, "expected a service, a method or both");
    return everything;
  }
  if (isExact && service !== undefined) {
    return method === undefined
      ? { kind: "prefix", value: `/${service}` }
      : { kind: "exact", value: `/${service}/${method}` };
  }
  if (isExact) return { kind: "regex", value: `/${ANY}/${method}` };
  for (const [name, text] of Object.entries({ service, method })) {
    if (text !== undefined) checkPattern(fields, name, text, report);
  }
  const part = (pattern: string | undefined): string => (pattern === undefined ? ANY : `(?:${pattern})`);
  return { kind: "regex", value: `/${part(service)}/${part(method)}` };
}

/** Names of protocol buffers, which have no character that means something in a path or a regular expression but for the dot of a service. */
function isName(text: string): boolean {
  return text.length <= MOST_CHARACTERS && /^\.?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*$/.test(text);
}

function isPattern(text: string): boolean {
  return text !== "" && text.length <= MOST_CHARACTERS;
}
