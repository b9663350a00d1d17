// Pure. What requests a rule is for: path, method, headers, query parameters.
import { isFailure } from "../../../failure/failure.ts";
import type { HttpPathMatch, HttpRouteMatch, NamedMatch, ValueMatch } from "../../http-route.ts";
import { patternSize } from "../../pattern.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import { atMost, ROUTE_LIMITS } from "./bounds.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] as const;

/** Longest values (Gateway API). */
const MOST_CHARACTERS = { path: 1_024, header: 4_096, query: 1_024, name: 256 } as const;

/** The matches of an HTTPRoute's rule; what cannot be told apart is reported at the route, because any request might be meant. */
export function parseMatches(rule: Fields, report: Report): HttpRouteMatch[] {
  atMost(rule, "matches", ROUTE_LIMITS.matchesPerRule, report);
  const matches: HttpRouteMatch[] = [];
  for (const { fields } of rule.each("matches", () => report)) {
    const path = parsePath(fields.fields("path"), report);
    const method = fields.word("method", METHODS);
    const headers = parseHeaderMatches(fields, report);
    const query = parseNamed(fields, "queryParams", "a query parameter's name", MOST_CHARACTERS.query, report);
    fields.end();
    matches.push({ path, method, headers, query });
  }
  return matches;
}

/** The headers of a match, names in lower case. */
export function parseHeaderMatches(match: Fields, report: Report): NamedMatch[] {
  const headers = parseNamed(match, "headers", "a header name", MOST_CHARACTERS.header, report);
  return headers.map(({ name, kind, value }) => ({ name: name.toLowerCase(), kind, value }));
}

/** How a value is compared; `Exact` unless it says otherwise. */
export function parseComparison(fields: Fields, report: Report): ValueMatch["kind"] {
  const type = fields.string("type") ?? "Exact";
  if (type === "RegularExpression") return "regex";
  if (type !== "Exact") {
    report.notUnderstood(fields.node, fields.at("type"), "only Exact and RegularExpression are supported");
  }
  return "exact";
}

/** Reports a regular expression that is none of RE2, or too costly; those beyond what one route may have are not looked at. */
export function checkPattern(fields: Fields, name: string, text: string, report: Report): void {
  const most = ROUTE_LIMITS.patternCharacters;
  const sum = report.spend(text.length);
  if (sum > most) {
    // Once is enough: the route is not understood.
    if (sum - text.length > most) return;
    const what = `expected at most ${most} characters of regular expressions in all, found more`;
    return report.malformed(fields.get(name) ?? fields.node, fields.at(name), what);
  }
  const size = patternSize(text);
  if (isFailure(size)) report.malformed(fields.get(name) ?? fields.node, fields.at(name), size.detail);
}

/** Whether a text is a token (RFC 9110 section 5.6.2), which names of header fields are. */
export function isToken(text: string): boolean {
  return text.length <= MOST_CHARACTERS.name && /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(text);
}

/** What Gateway API allows in a path: nothing that normalization of the request would have taken away. */
export function isPathValue(value: string): boolean {
  const inForm = /^\/(?:[A-Za-z0-9/._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*$/.test(value);
  return inForm && value.length <= MOST_CHARACTERS.path && !/\/\/|\/\.\.?(\/|$)|%2f/i.test(value);
}

function parseNamed(match: Fields, list: string, what: string, most: number, report: Report): NamedMatch[] {
  atMost(match, list, ROUTE_LIMITS.namedPerMatch, report);
  const named: NamedMatch[] = [];
  for (const { fields } of match.each(list)) {
    const kind = parseComparison(fields, report);
    const name = fields.string("name", what, isToken);
    const value = fields.string("value", `1 to ${most} characters`, (text) => text !== "" && text.length <= most);
    fields.end();
    if (kind === "regex" && value !== undefined) checkPattern(fields, "value", value, report);
    if (name !== undefined && value !== undefined) named.push({ name, kind, value });
    else report.malformed(fields.node, fields.path, "expected a name and a value");
  }
  return named;
}

function parsePath(fields: Fields | undefined, report: Report): HttpPathMatch {
  const everything = { kind: "prefix", value: "/" } as const;
  if (fields === undefined) return everything;
  const type = fields.string("type") ?? "PathPrefix";
  const value = fields.string("value") ?? "/";
  fields.end();
  if (type === "RegularExpression") {
    if (value !== "" && value.length <= MOST_CHARACTERS.path) {
      checkPattern(fields, "value", value, report);
      return { kind: "regex", value };
    }
    const found = fields.get("value") ?? fields.node;
    report.expected(found, fields.at("value"), `a regular expression of at most ${MOST_CHARACTERS.path} characters`);
    return everything;
  }
  if (type !== "Exact" && type !== "PathPrefix") {
    const text = "only Exact, PathPrefix and RegularExpression are supported";
    report.notUnderstood(fields.node, fields.at("type"), text);
    return everything;
  }
  if (!isPathValue(value)) {
    report.expected(
      fields.get("value") ?? fields.node,
      fields.at("value"),
      "a path that begins with / and is in normal form",
    );
    return everything;
  }
  return { kind: type === "Exact" ? "exact" : "prefix", value };
}
