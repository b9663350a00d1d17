// Pure. The rule that serves a request, as the standard's text says it: every match of every route is asked, the ones that hold are
// compared pair by pair. Slow, without index, and nothing shared with the router.
import type { HttpPathMatch, HttpRoute, HttpRouteMatch, NamedMatch } from "@culvert/shared/config/http-route.ts";

/** A request as the slow router sees it: all of its headers, its target undivided. */
export interface SlowRequest {
  readonly method: string;
  readonly hostname: string;
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
}

interface Holding {
  readonly route: HttpRoute;
  readonly host: string;
  readonly match: HttpRouteMatch;
  readonly position: readonly [rule: number, match: number];
}

/** `namespace/name rule`, or `undefined`. */
export function slowlyFind(routes: readonly HttpRoute[], request: SlowRequest): string | undefined {
  const holding: Holding[] = [];
  for (const route of routes) {
    for (const host of route.hostnames.length === 0 ? ["*"] : route.hostnames) {
      if (!hostHolds(host.toLowerCase(), request.hostname)) continue;
      for (const [r, rule] of route.rules.entries()) {
        const everything = { path: { kind: "prefix", value: "/" }, method: undefined, headers: [], query: [] } as const;
        for (const [m, match] of (rule.matches.length === 0 ? [everything] : rule.matches).entries()) {
          if (matchHolds(match, request)) holding.push({ route, host, match, position: [r, m] });
        }
      }
    }
  }
  const [best] = holding.toSorted(compare);
  return best === undefined ? undefined : `${best.route.uid} ${best.route.rules[best.position[0]]?.name ?? ""}`;
}

function hostHolds(host: string, asked: string): boolean {
  if (host === "*") return true;
  if (!host.startsWith("*.")) return host === asked;
  return asked.length > host.length - 1 && asked.endsWith(host.slice(1));
}

function matchHolds(match: HttpRouteMatch, request: SlowRequest): boolean {
  const [path = "", ...rest] = request.target.split("?");
  const query = new URLSearchParams(rest.join("?"));
  return (
    pathHolds(match.path, path) &&
    (match.method ?? request.method) === request.method &&
    distinct(match.headers).every((header) => valueHolds(header, request.headers[header.name])) &&
    distinct(match.query).every((parameter) => valueHolds(parameter, query.get(parameter.name) ?? undefined))
  );
}

function pathHolds({ kind, value }: HttpPathMatch, path: string): boolean {
  if (kind === "exact") return path === value;
  if (!path.startsWith("/")) return false;
  if (kind === "regex") return wholly(value, path);
  const prefix = value.endsWith("/") ? value : `${value}/`;
  return path.startsWith(prefix) || `${path}/` === prefix;
}

function valueHolds({ kind, value }: NamedMatch, found: string | undefined): boolean {
  if (found === undefined) return false;
  return kind === "exact" ? value === found : wholly(value, found);
}

const compiled = new Map<string, RegExp>();

/** The expressions of the test mean the same to JavaScript, which would be open to attack by others. */
function wholly(pattern: string, text: string): boolean {
  let expression = compiled.get(pattern);
  if (expression === undefined) {
    expression = new RegExp(`^(?:${pattern})$`);
    compiled.set(pattern, expression);
  }
  return expression.test(text);
}

function distinct(matches: readonly NamedMatch[]): NamedMatch[] {
  const byName = new Map<string, NamedMatch>();
  for (const match of matches.toReversed()) byName.set(match.name, match);
  return [...byName.values()];
}

function compare(a: Holding, b: Holding): number {
  for (const key of [
    ({ host }: Holding) => (host.startsWith("*") ? 0 : 1),
    ({ host }: Holding) => host.length,
    ({ match }: Holding) => (match.path.kind === "exact" ? 1 : 0),
    ({ match }: Holding) => beginning(match.path).length,
    ({ match }: Holding) => (match.path.kind === "regex" ? 1 : 0),
    ({ match }: Holding) => (match.path.kind === "regex" ? match.path.value.length : 0),
    ({ match }: Holding) => (match.method === undefined ? 0 : 1),
    ({ match }: Holding) => distinct(match.headers).length,
    ({ match }: Holding) => distinct(match.query).length,
    ({ route }: Holding) => -route.createdAt,
  ]) {
    const difference = key(b) - key(a);
    if (difference !== 0) return difference;
  }
  if (a.route.uid !== b.route.uid) return a.route.uid < b.route.uid ? -1 : 1;
  return a.position[0] - b.position[0] || a.position[1] - b.position[1];
}

/** The prefix, without the slash at its end; of an expression that of the segments without a sign of their own. */
function beginning({ kind, value }: HttpPathMatch): string {
  if (kind === "prefix") return value.replace(/\/$/, "");
  const signs = value.search(/[^a-z/]/);
  if (value.includes("|")) return "";
  const plain = signs < 0 ? value : value.slice(0, /[*+?{]/.test(value[signs] ?? "") ? signs - 1 : signs);
  return plain.slice(0, Math.max(0, plain.lastIndexOf("/")));
}
