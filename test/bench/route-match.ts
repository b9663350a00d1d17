// Root. `node test/bench/route-match.ts`: nanoseconds to find the rule of a request, by what tells the routes apart and how many there
// are, with the ratio to one route. A whole request costs a waypoint some 20 µs.
import process from "node:process";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { HttpRoute } from "@culvert/shared/config/http-route.ts";
import type { RoutedRequest } from "@culvert/waypoint/route/entry.ts";
import { route, rule, type MatchText } from "@culvert/waypoint/route/route-fixtures.ts";
import { RouteGroup } from "@culvert/waypoint/route/route-group.ts";

const FINDS = 100_000;
const ROUNDS = 7;
const COUNTS = [1, 1_000, 10_000] as const;
/** Requests that are asked in turn, so that no figure is that of one string that is always the same. */
const REQUESTS = 64;

interface Shape {
  readonly name: string;
  /** What route number `i` matches. */
  readonly match: (i: number) => MatchText;
  readonly host?: (i: number) => string;
  /** The request for route number `i`. */
  readonly ask: (i: number) => Partial<RoutedRequest> & { readonly header?: string };
  /** Expressions are bounded: no more routes than that. */
  readonly most?: number;
  readonly finds?: number;
}

const SHAPES: readonly Shape[] = [
  { name: "by host", match: () => ({}), host: (i) => `h${i}.test`, ask: (i) => ({ hostname: `h${i}.test` }) },
  {
    name: "by wildcard host",
    match: () => ({}),
    host: (i) => `*.h${i}.test`,
    ask: (i) => ({ hostname: `a.h${i}.test` }),
  },
  { name: "by exact path", match: (i) => ({ path: `=/api/v1/item${i}` }), ask: (i) => ({ path: `/api/v1/item${i}` }) },
  { name: "by prefix", match: (i) => ({ path: `/api/v1/item${i}` }), ask: (i) => ({ path: `/api/v1/item${i}/x` }) },
  { name: "by header", match: (i) => ({ headers: { tenant: `t${i}` } }), ask: (i) => ({ header: `t${i}` }) },
  {
    name: "by method and header",
    match: (i) => ({ method: "GET", path: "/api", headers: { tenant: `t${i}` } }),
    ask: (i) => ({ path: "/api/x", header: `t${i}` }),
  },
  { name: "by query", match: (i) => ({ query: { id: `q${i}` } }), ask: (i) => ({ query: `?a=b&id=q${i}` }) },
  {
    name: "by host and path",
    match: (i) => ({ path: `/api/v1/part${i % 100}` }),
    host: (i) => `h${Math.floor(i / 100)}.test`,
    ask: (i) => ({ hostname: `h${Math.floor(i / 100)}.test`, path: `/api/v1/part${i % 100}/x` }),
  },
  {
    name: "by expression, apart",
    match: (i) => ({ path: `~/part${i}/[0-9]+` }),
    ask: (i) => ({ path: `/part${i}/77` }),
    most: 512,
  },
  {
    name: "by expression, alike",
    match: (i) => ({ path: `~/a/[0-9]+/x${i}` }),
    ask: (i) => ({ path: `/a/77/x${i}` }),
    most: 512,
    finds: 10_000,
  },
];

function groupOf({ match, host }: Shape, count: number): RouteGroup {
  const routes = Array.from({ length: count }, (_, i): HttpRoute =>
    route(`r${i}`, [rule("x", [match(i)])], host === undefined ? {} : { hostnames: [host(i)] }),
  );
  return new RouteGroup(routes);
}

function requestsOf({ ask }: Shape, count: number): RoutedRequest[] {
  return Array.from({ length: REQUESTS }, (_, n) => {
    const { header, ...parts } = ask(Math.floor((n * count) / REQUESTS));
    return { method: "GET", hostname: "reviews", path: "/", query: "", headers: [header], ...parts };
  });
}

/** The best of some rounds, in nanoseconds. */
function measure(group: RouteGroup, requests: readonly RoutedRequest[], finds: number): number {
  let best = Infinity;
  for (let round = 0; round < ROUNDS; round += 1) {
    const start = process.hrtime.bigint();
    for (let n = 0; n < finds; n += 1) group.find(requests[n % REQUESTS] as RoutedRequest);
    best = Math.min(best, Number(process.hrtime.bigint() - start) / finds);
  }
  return best;
}

for (const shape of SHAPES) {
  const { finds = FINDS } = shape;
  const counts = [...new Set(COUNTS.map((count) => Math.min(count, shape.most ?? count)))];
  const groups = counts.map((count) => ({ count, group: groupOf(shape, count), requests: requestsOf(shape, count) }));
  for (const { group, requests } of groups) {
    for (const request of requests) if (isFailure(group.find(request))) throw new Error(`${shape.name}: not found`);
    // Every group is warm before any is measured.
    measure(group, requests, finds);
  }
  const figures = groups.map(({ count, group, requests }) => ({ count, ns: measure(group, requests, finds) }));
  const one = figures[0]?.ns ?? 0;
  const line = figures.map(({ count, ns }) => `${count}: ${ns.toFixed(0)} ns (${(ns / one).toFixed(2)})`);
  process.stdout.write(`${shape.name.padEnd(22)} ${line.join("   ")}\n`);
}
