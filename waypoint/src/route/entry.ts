// Pure. One match of one rule of one route, compiled: what it asks of a request, and its place among the others.
import { byAge } from "@culvert/shared/config/by-age.ts";
import type { HttpRoute, HttpRouteMatch, HttpRouteRule, NamedMatch } from "@culvert/shared/config/http-route.ts";
import { compilePattern, type Pattern } from "@culvert/shared/config/pattern.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { normalizePath } from "../canonical/path.ts";

/** One match of one rule of one route, ready to serve. */
export interface RoutedRule {
  readonly route: HttpRoute;
  readonly rule: HttpRouteRule;
  /** Name of the rule, else `rules[<index>]`: what the log says. */
  readonly name: string;
  /** The match that puts it in its place. */
  readonly match: HttpRouteMatch;
}

/** What routes may ask of a request. */
export interface RoutedRequest {
  readonly method: string;
  /** Canonical, without port. */
  readonly hostname: string;
  /** Canonical, without query. */
  readonly path: string;
  /** As it was sent, with its `?`; empty when there is none. */
  readonly query: string;
  /** Values of `RouteGroup.headerNames`, at the same indices; repeated lines joined by `, `. */
  readonly headers: readonly (string | undefined)[];
}

/** One thing that a request must have beside its host and its path's beginning. */
export interface Condition {
  readonly of: "path" | "method" | "header" | "query";
  /** Of a header among `RouteGroup.headerNames`, of a parameter among those that the group asks for; else 0. */
  readonly slot: number;
  readonly value: string;
  /** `undefined`: the value is compared as it is. */
  readonly pattern: Pattern | undefined;
  /** The request of `Search` that `verdict` is about. */
  turn: number;
  /** `undefined`: the value is too long to say. */
  verdict: boolean | undefined;
}

/** A match in its place. */
export interface Entry {
  readonly routed: RoutedRule;
  readonly conditions: readonly Condition[];
  /** The regular expression that the path must match; the same object wherever its text is the same. */
  readonly path: Condition | undefined;
  /** Position among the entries of one host, from the first that is asked. */
  readonly rank: number;
}

/** An entry that has no place yet, because it has one for each host. */
export interface Candidate extends Omit<Entry, "rank"> {
  readonly headers: number;
  readonly query: number;
  readonly ruleIndex: number;
  readonly matchIndex: number;
}

/** What a rule without matches asks for. */
const EVERYTHING: HttpRouteMatch = { path: { kind: "prefix", value: "/" }, method: undefined, headers: [], query: [] };

/** Expressions that the routes of one group may have: each may be asked of each request, and remembers what it has seen. */
const MOST_PATTERNS = 512;

/** Compiles the matches of the routes of one group, which share the slots of headers and parameters and their expressions. */
export class EntryCompiler {
  readonly headerSlots = new Map<string, number>();
  readonly querySlots = new Map<string, number>();
  readonly #patterns = new Map<string, Condition>();

  /** The entries of a route, in its order. A failure: it cannot be said which requests the route is for. */
  compile(route: HttpRoute): readonly Candidate[] | Failure {
    const candidates: Candidate[] = [];
    for (const [ruleIndex, rule] of route.rules.entries()) {
      const name = rule.name ?? `rules[${ruleIndex}]`;
      const matches = rule.matches.length === 0 ? [EVERYTHING] : rule.matches;
      for (const [matchIndex, match] of matches.entries()) {
        const routed = { route, rule, name, match: inCanonicalForm(match) };
        const candidate = this.#candidate(routed, ruleIndex, matchIndex);
        if (isFailure(candidate)) {
          return fail("ROUTE_NOT_UNDERSTOOD", `${route.uid} ${name} matches[${matchIndex}]: ${candidate.detail}`);
        }
        candidates.push(candidate);
      }
    }
    return candidates;
  }

  #candidate(routed: RoutedRule, ruleIndex: number, matchIndex: number): Candidate | Failure {
    const { match } = routed;
    const path = match.path.kind === "regex" ? this.#condition("path", 0, match.path) : undefined;
    if (isFailure(path)) return path;
    const conditions: Condition[] = [];
    if (match.method !== undefined) conditions.push(exactly("method", 0, match.method));
    const headers = firstOfEach(match.headers);
    const query = firstOfEach(match.query);
    for (const header of headers) {
      // Field values are compared as the bytes that came, one character a byte.
      const value = header.kind === "exact" ? Buffer.from(header.value, "utf8").toString("latin1") : header.value;
      const slot = slotOf(this.headerSlots, header.name.toLowerCase());
      const condition = this.#condition("header", slot, { ...header, value });
      if (isFailure(condition)) return condition;
      conditions.push(condition);
    }
    for (const parameter of query) {
      const condition = this.#condition("query", slotOf(this.querySlots, parameter.name), parameter);
      if (isFailure(condition)) return condition;
      conditions.push(condition);
    }
    return { routed, conditions, path, headers: headers.length, query: query.length, ruleIndex, matchIndex };
  }

  #condition(
    of: Condition["of"],
    slot: number,
    match: { readonly kind: string; readonly value: string },
  ): Condition | Failure {
    if (match.kind !== "regex") return exactly(of, slot, match.value);
    const key = `${of} ${slot} ${match.value}`;
    const known = this.#patterns.get(key);
    if (known !== undefined) return known;
    if (this.#patterns.size >= MOST_PATTERNS) {
      return fail(
        "ROUTE_NOT_UNDERSTOOD",
        `the routes of one Service port may have ${MOST_PATTERNS} regular expressions, this is one more`,
      );
    }
    const pattern = compilePattern(match.value);
    if (isFailure(pattern)) return pattern;
    const condition: Condition = { of, slot, value: match.value, pattern, turn: 0, verdict: false };
    this.#patterns.set(key, condition);
    return condition;
  }
}

/**
 * The order among matches of one host (Gateway API, HTTPRouteRule.matches): the path, a method, the number of headers, of
 * parameters, the route's age, its `namespace/name`, the position in it.
 *
 * The standard leaves the place of regular expressions open. Here one stands after all exact paths and just before the prefix
 * that it begins with: its whole segments before the first character with a meaning of its own. `/api/v[0-9]+` goes after the
 * prefix `/api/v1` and before the prefix `/api`. Of two with the same beginning the longer goes first.
 */
export function byPrecedence(a: Candidate, b: Candidate): number {
  const routeA = a.routed.route;
  const routeB = b.routed.route;
  return (
    byPath(a.routed.match, b.routed.match) ||
    Number(b.routed.match.method !== undefined) - Number(a.routed.match.method !== undefined) ||
    b.headers - a.headers ||
    b.query - a.query ||
    byAge(routeA, routeB) ||
    a.ruleIndex - b.ruleIndex ||
    a.matchIndex - b.matchIndex
  );
}

/** The whole segments that every path that matches `pattern` begins with, with the slash behind them. */
export function literalBeginning(pattern: string): string {
  // An alternative may begin otherwise, and flags may make `a` of `A`: then only the root is certain.
  if (pattern.includes("|") || pattern.includes("(?")) return "/";
  const [anchor = "", literal = ""] = /^\^?([A-Za-z0-9/_~!@%&=:;,'"<>#` -]*)/.exec(pattern) ?? [];
  const next = pattern[anchor.length] ?? "";
  const certain = "?*+{".includes(next) && next !== "" ? literal.slice(0, -1) : literal;
  return certain.slice(0, certain.lastIndexOf("/") + 1) || "/";
}

/** What every path that matches `pattern` ends with, as far as that is plain to see. */
export function literalEnding(pattern: string): string {
  if (pattern.includes("|") || pattern.includes("(?")) return "";
  const [literal = ""] = /[A-Za-z0-9/_~-]*$/.exec(pattern) ?? [];
  // Behind a backslash letters mean something else, and how many of them is not plain.
  return pattern[pattern.length - literal.length - 1] === "\\" ? "" : literal;
}

/** Segments of a prefix; the slash at its end does not count. */
export function prefixSegments(prefix: string): string[] {
  const segments = prefix.split("/");
  if (segments[0] === "") segments.shift();
  if (segments.at(-1) === "") segments.pop();
  return segments;
}

/** Paths are compared with paths in canonical form: `/%7Euser` is asked for as `/~user`. */
function inCanonicalForm(match: HttpRouteMatch): HttpRouteMatch {
  const { kind, value } = match.path;
  const canonical = kind === "regex" ? value : normalizePath(value);
  return isFailure(canonical) || canonical === value ? match : { ...match, path: { kind, value: canonical } };
}

function byPath({ path: a }: HttpRouteMatch, { path: b }: HttpRouteMatch): number {
  if (a.kind === "exact" || b.kind === "exact") return Number(b.kind === "exact") - Number(a.kind === "exact");
  const byLength = beginningLength(b) - beginningLength(a);
  if (byLength !== 0) return byLength;
  if (a.kind !== b.kind) return a.kind === "regex" ? -1 : 1;
  return a.kind === "regex" ? b.value.length - a.value.length : 0;
}

function beginningLength({ kind, value }: HttpRouteMatch["path"]): number {
  return prefixSegments(kind === "regex" ? literalBeginning(value) : value).join("/").length;
}

function exactly(of: Condition["of"], slot: number, value: string): Condition {
  return { of, slot, value, pattern: undefined, turn: 0, verdict: false };
}

/** Of two entries for one name the first counts. */
function firstOfEach(matches: readonly NamedMatch[]): readonly NamedMatch[] {
  if (matches.length < 2) return matches;
  return matches.filter((match, i) => matches.findIndex(({ name }) => name === match.name) === i);
}

function slotOf(slots: Map<string, number>, name: string): number {
  const slot = slots.get(name) ?? slots.size;
  slots.set(name, slot);
  return slot;
}
