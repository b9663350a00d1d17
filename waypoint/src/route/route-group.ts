// Pure. The routes of one service port that are looked at together, in the order of precedence of Gateway API.
import type { HttpRoute } from "@culvert/shared/config/http-route.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import {
  byPrecedence,
  EntryCompiler,
  type Candidate,
  type Entry,
  type RoutedRequest,
  type RoutedRule,
} from "./entry.ts";
import { judge, type Judged } from "./judge.ts";
import { PathIndex } from "./path-index.ts";
import { Search } from "./search.ts";
import type { RouteSort } from "./service-routes.ts";

/** The entries for one host name, or for all below one. */
interface HostEntries {
  /** Lower case; `*.example.com`, or empty for any. */
  readonly host: string;
  readonly entries: readonly Entry[];
}

/**
 * Routes attached to the same service port from the same side (producer, or consumers of one namespace), compiled once
 * per snapshot. The order among all matches of all rules: host name, exact before wildcard and longer before shorter, then
 * `byPrecedence`.
 */
export class RouteGroup {
  /** All of one kind. */
  readonly routes: readonly HttpRoute[];
  /** Lower-case names of the headers that matches look at; requests bring their values in this order. */
  readonly headerNames: readonly string[];
  /** In the order in which they are asked. */
  readonly #hosts: readonly HostEntries[];
  readonly #queryNames: readonly string[];
  readonly #notUnderstood: Failure | undefined;
  readonly #search: Search;
  readonly #byHost = new Map<string, PathIndex>();
  /** By suffix, with its leading dot. */
  readonly #wildcards = new Map<string, PathIndex>();
  readonly #anyHost: PathIndex | undefined;

  /** @param routes of one kind */
  constructor(routes: readonly HttpRoute[]) {
    this.routes = routes;
    const compiler = new EntryCompiler();
    const byHost = new Map<string, Candidate[]>();
    for (const route of routes) {
      const candidates =
        route.notUnderstood === undefined
          ? compiler.compile(route)
          : fail("ROUTE_NOT_UNDERSTOOD", `${route.uid}: ${route.notUnderstood}`);
      if (isFailure(candidates)) {
        this.#notUnderstood ??= candidates;
        continue;
      }
      for (const host of route.hostnames.length === 0 ? [""] : route.hostnames) {
        const known = byHost.get(host.toLowerCase());
        if (known === undefined) byHost.set(host.toLowerCase(), [...candidates]);
        else for (const candidate of candidates) known.push(candidate);
      }
    }
    this.headerNames = [...compiler.headerSlots.keys()];
    this.#queryNames = [...compiler.querySlots.keys()];
    this.#search = new Search(compiler.querySlots);
    const hosts: HostEntries[] = [];
    for (const [host, candidates] of byHost) {
      const entries = candidates.toSorted(byPrecedence).map(placed);
      hosts.push({ host, entries });
      const index = new PathIndex(entries);
      if (host === "") this.#anyHost = index;
      else if (host.startsWith("*.")) this.#wildcards.set(host.slice(1), index);
      else this.#byHost.set(host, index);
    }
    this.#hosts = hosts.toSorted((a, b) => hostRank(b.host) - hostRank(a.host));
  }

  /**
   * The rule that serves a request, or ROUTE_NOT_FOUND. A route that is not understood is not accepted and takes nothing from
   * the others (Gateway API); what none of them serves could be meant for it: ROUTE_NOT_UNDERSTOOD. REQUEST_TOO_LARGE: a value
   * is longer than the regular expression that comes first may look at.
   */
  find(request: RoutedRequest): RoutedRule | Failure {
    const search = this.#search;
    search.begin(request);
    const byHost = this.#byHost.size === 0 ? undefined : this.#ask(this.#byHost.get(request.hostname));
    const found =
      byHost ??
      (this.#wildcards.size === 0 ? undefined : this.#findWildcard(request.hostname)) ??
      this.#ask(this.#anyHost);
    if (isFailure(found)) return found;
    if (found === undefined) {
      if (this.#notUnderstood !== undefined) return this.#notUnderstood;
      return fail("ROUTE_NOT_FOUND", `${request.method} ${request.path.slice(0, 200)} for host ${request.hostname}`);
    }
    const { routed } = found;
    if (routed.rule.notUnderstood === undefined) return routed;
    return fail("ROUTE_NOT_UNDERSTOOD", `${routed.route.uid} ${routed.name}: ${routed.rule.notUnderstood}`);
  }

  /** Every match in the order in which `find` looks for one, each with what does not hold. For explanations: it asks all. */
  judge(request: RoutedRequest): readonly Judged[] {
    this.#search.begin(request);
    const names = { headers: this.headerNames, query: this.#queryNames };
    return this.#hosts.flatMap(({ host, entries }) => entries.map((entry) => judge(entry, host, this.#search, names)));
  }

  /** The longest suffix first. */
  #findWildcard(hostname: string): Entry | Failure | undefined {
    for (let dot = hostname.indexOf(".", 1); dot > 0; dot = hostname.indexOf(".", dot + 1)) {
      const found = this.#ask(this.#wildcards.get(hostname.slice(dot)));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #ask(index: PathIndex | undefined): Entry | Failure | undefined {
    if (index === undefined) return undefined;
    const found = index.find(this.#search);
    const { unsure } = this.#search;
    if (unsure === Infinity || (found !== undefined && found.rank < unsure)) return found;
    return fail("REQUEST_TOO_LARGE", "a value that a regular expression of a route is to look at");
  }
}

function placed({ routed, conditions, path }: Candidate, rank: number): Entry {
  return { routed, conditions, path, rank };
}

/** Exact names before wildcards, the longer before the shorter, any host last. */
function hostRank(host: string): number {
  if (host === "") return 0;
  return host.startsWith("*.") ? host.length : 1_000 + host.length;
}

/** Routes of requests; a GRPCRoute goes before an HTTPRoute. */
export const HTTP_ROUTES: RouteSort<HttpRoute, RouteGroup> = {
  specific: "GRPCRoute",
  compile: (routes) => new RouteGroup(routes),
};
