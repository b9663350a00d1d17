// Pure. The routes of one service port that are looked at together, in the order of precedence of Gateway API.
import type { HttpRoute, HttpRouteMatch, HttpRouteRule } from "@culvert/shared/config/http-route.ts";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { PathIndex } from "./path-index.ts";

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
  /** Values of `RouteGroup.headerNames`, at the same indices; repeated lines joined by `, `. */
  readonly headers: readonly (string | undefined)[];
}

interface Entry {
  readonly headers: readonly { readonly slot: number; readonly value: string }[];
  readonly rule: RoutedRule;
}

interface Candidate {
  readonly entry: Entry;
  readonly matchIndex: number;
  readonly ruleIndex: number;
}

const EVERYTHING: HttpRouteMatch = { path: { kind: "prefix", value: "/" }, method: undefined, headers: [], query: [] };

/**
 * Routes attached to the same service port from the same side (producer, or consumers of one namespace), compiled once
 * per snapshot. The order among all matches of all rules (Gateway API, HTTPRouteRule.matches): host name, exact path,
 * longest prefix, method, number of headers, age, `namespace/name`, position.
 */
export class RouteGroup {
  /** Lower-case names of the headers that matches look at; requests bring their values in this order. */
  readonly headerNames: readonly string[];
  readonly #notUnderstood: Failure | undefined;
  readonly #byHost = new Map<string, PathIndex<Entry>>();
  /** Suffixes with their leading dot, the longest first. */
  readonly #wildcards: { readonly suffix: string; readonly index: PathIndex<Entry> }[] = [];
  readonly #anyHost: PathIndex<Entry> | undefined;

  constructor(routes: readonly HttpRoute[]) {
    const opaque = routes.find((route) => route.notUnderstood !== undefined);
    this.#notUnderstood =
      opaque === undefined ? undefined : fail("ROUTE_NOT_UNDERSTOOD", `${opaque.uid}: ${opaque.notUnderstood ?? ""}`);
    const slots = new Map<string, number>();
    const byHost = new Map<string, Candidate[]>();
    for (const route of routes) {
      const candidates = compile(route, slots);
      for (const host of route.hostnames.length === 0 ? [""] : route.hostnames) {
        const known = byHost.get(host.toLowerCase());
        if (known === undefined) byHost.set(host.toLowerCase(), [...candidates]);
        else for (const candidate of candidates) known.push(candidate);
      }
    }
    this.headerNames = [...slots.keys()];
    for (const [host, candidates] of byHost) {
      const index = new PathIndex<Entry>();
      for (const { entry } of candidates.toSorted(byPrecedence)) index.add(entry.rule.match.path, entry);
      if (host === "") this.#anyHost = index;
      else if (host.startsWith("*.")) this.#wildcards.push({ suffix: host.slice(1), index });
      else this.#byHost.set(host, index);
    }
    this.#wildcards.sort((a, b) => b.suffix.length - a.suffix.length);
  }

  /**
   * The rule that serves a request, or ROUTE_NOT_FOUND. A route that is not understood could be the one that serves any
   * request, so it takes all of them: ROUTE_NOT_UNDERSTOOD.
   */
  find(request: RoutedRequest): RoutedRule | Failure {
    if (this.#notUnderstood !== undefined) return this.#notUnderstood;
    const entry =
      this.#byHost.get(request.hostname)?.find(request.path, request, accepts) ??
      this.#findWildcard(request) ??
      this.#anyHost?.find(request.path, request, accepts);
    if (entry === undefined) {
      return fail("ROUTE_NOT_FOUND", `${request.method} ${request.path.slice(0, 200)} for host ${request.hostname}`);
    }
    const { route, rule, name } = entry.rule;
    if (rule.notUnderstood === undefined) return entry.rule;
    return fail("ROUTE_NOT_UNDERSTOOD", `${route.uid} ${name}: ${rule.notUnderstood}`);
  }

  #findWildcard(request: RoutedRequest): Entry | undefined {
    for (const { suffix, index } of this.#wildcards) {
      if (request.hostname.length <= suffix.length || !request.hostname.endsWith(suffix)) continue;
      const entry = index.find(request.path, request, accepts);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }
}

function accepts(entry: Entry, request: RoutedRequest): boolean {
  if (entry.rule.match.method !== undefined && entry.rule.match.method !== request.method) return false;
  for (const header of entry.headers) if (request.headers[header.slot] !== header.value) return false;
  return true;
}

function compile(route: HttpRoute, slots: Map<string, number>): Candidate[] {
  const candidates: Candidate[] = [];
  for (const [ruleIndex, rule] of route.rules.entries()) {
    const name = rule.name ?? `rules[${ruleIndex}]`;
    const matches = rule.matches.length === 0 ? [EVERYTHING] : rule.matches;
    for (const [matchIndex, match] of matches.entries()) {
      const entry: Entry = { headers: headersOf(match, slots), rule: { route, rule, name, match } };
      candidates.push({ entry, matchIndex, ruleIndex });
    }
  }
  return candidates;
}

/** Of two entries for one name the first counts. */
function headersOf(match: HttpRouteMatch, slots: Map<string, number>): { slot: number; value: string }[] {
  const wanted = new Map<string, string>();
  for (const { name, value } of match.headers) if (!wanted.has(name)) wanted.set(name, value);
  return [...wanted].map(([name, value]) => {
    const slot = slots.get(name) ?? slots.size;
    slots.set(name, slot);
    return { slot, value };
  });
}

/** Precedence between matches of one path; the path itself is the index's business. */
function byPrecedence(a: Candidate, b: Candidate): number {
  const routeA = a.entry.rule.route;
  const routeB = b.entry.rule.route;
  return (
    Number(b.entry.rule.match.method !== undefined) - Number(a.entry.rule.match.method !== undefined) ||
    b.entry.headers.length - a.entry.headers.length ||
    routeA.createdAt - routeB.createdAt ||
    compareText(routeA.uid, routeB.uid) ||
    a.ruleIndex - b.ruleIndex ||
    a.matchIndex - b.matchIndex
  );
}

/** Code unit order, the same on every machine. */
function compareText(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
