// For tests: routes and questions as short texts.
import type {
  HttpPathMatch,
  HttpRoute,
  HttpRouteMatch,
  HttpRouteRule,
  NamedMatch,
} from "@culvert/shared/config/http-route.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { route as routeOf, routeMatch, routeRule } from "@culvert/test/support/fixtures.ts";
import type { RouteGroup } from "./route-group.ts";

/** A match: `=/path` is exact, `~pattern` a regular expression (of a value likewise), else a prefix (of a value the value). */
export interface MatchText {
  readonly path?: string;
  readonly method?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
}

export function match({ path = "/", method, headers = {}, query = {} }: MatchText): HttpRouteMatch {
  return routeMatch({ path: pathMatch(path), method, headers: named(headers), query: named(query) });
}

function pathMatch(text: string): HttpPathMatch {
  if (text.startsWith("=")) return { kind: "exact", value: text.slice(1) };
  return text.startsWith("~") ? { kind: "regex", value: text.slice(1) } : { kind: "prefix", value: text };
}

export function rule(name: string, matches: readonly MatchText[], more: Partial<HttpRouteRule> = {}): HttpRouteRule {
  return routeRule({ name, matches: matches.map(match), ...more });
}

export function route(name: string, rules: readonly HttpRouteRule[], more: Partial<HttpRoute> = {}): HttpRoute {
  return routeOf(name, { rules, ...more });
}

/** One route with one rule for each match, named as the match's path. */
export function routeOfPaths(...paths: readonly string[]): HttpRoute {
  return route(
    "r",
    paths.map((path) => rule(path, [{ path }])),
  );
}

/** What a group says to `GET /path?query`: `route/rule`, or the code of the failure. */
export function ask(
  group: RouteGroup,
  request: string,
  headers: Readonly<Record<string, string>> = {},
  hostname = "reviews",
): string {
  const [method = "", target = ""] = request.split(" ");
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? "" : target.slice(mark);
  const values = group.headerNames.map((name) => headers[name]);
  const found = group.find({ method, path, query, hostname, headers: values });
  return isFailure(found) ? found.code : `${found.route.name}/${found.name}`;
}

function named(values: Readonly<Record<string, string>>): NamedMatch[] {
  return Object.entries(values).map(([name, value]) =>
    value.startsWith("~") ? { name, kind: "regex", value: value.slice(1) } : { name, kind: "exact", value },
  );
}
