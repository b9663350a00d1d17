// Root. `node routes.ts [GROUPS] [SEED]`: the router against a slow one that has no index. Each group of routes is asked some
// questions; any difference is the end.
import assert from "node:assert/strict";
import process from "node:process";
import type { HttpRoute, NamedMatch } from "@culvert/shared/config/http-route.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { match } from "@culvert/waypoint/route/route-fixtures.ts";
import { RouteGroup } from "@culvert/waypoint/route/route-group.ts";
import * as fc from "fast-check";
import { route, routeRule } from "../support/fixtures.ts";
import kept from "./corpus/routes.json" with { type: "json" };
import { slowlyFind, type SlowRequest } from "./slow-router.ts";

/** Few names and values: the more they meet, the more the order matters. */
const HOSTS = ["a.test", "b.a.test", "c.b.a.test", "*.test", "*.a.test", "*.b.a.test"];
const SEGMENTS = ["a", "b", "ab", "c"];
const PATTERNS = [
  "~/a/.*",
  "~/a?/b",
  "~/[ab]/b+",
  "~.*",
  "~/a|/b",
  "~/a/b|/c",
  "~/ab/[^/]+/c",
  "~/a/b",
  "~/a/[bc]",
  "~/a/[cb]",
  "~/a/b[a-c]*",
  "~/[^/]+/c",
];
const VALUES = ["1", "2", "3", "~[12]", "~.*", "~2|3", "~"];
const METHODS = ["GET", "POST"];
const QUERIES = [
  "",
  "?",
  "?p=1",
  "?p=2&p=1",
  "?q=3&p=1",
  "?%70=%31",
  "?p",
  "?q=1&&q=2",
  "?p=1&q=2&x=3",
  "?+=1",
  "?p=12",
];

const pathText = fc.oneof(
  { weight: 4, arbitrary: fc.array(fc.constantFrom(...SEGMENTS), { maxLength: 3 }).map((all) => `/${all.join("/")}`) },
  { weight: 2, arbitrary: fc.constantFrom("/a/", "=/a", "=/a/b", "=/", "=/a/", "=*", "/a/b/") },
  { weight: 2, arbitrary: fc.constantFrom(...PATTERNS) },
);
const values = fc.dictionary(fc.constantFrom("p", "q", "r"), fc.constantFrom(...VALUES), { maxKeys: 2 });

const matchOf = fc
  .record({
    path: pathText,
    method: fc.option(fc.constantFrom(...METHODS), { nil: undefined, freq: 2 }),
    headers: values,
    query: values,
  })
  .map((parts) => match(parts));

/** Of two header matches for one name the first counts. */
const SECOND: NamedMatch = { name: "p", kind: "exact", value: "3" };
const anyMatch = fc.oneof(
  { weight: 4, arbitrary: matchOf },
  {
    weight: 1,
    arbitrary: matchOf.map(({ headers, ...rest }) => Object.assign({ headers: [...headers, SECOND] }, rest)),
  },
);

const routesOf = fc
  .array(
    fc.record({
      hostnames: fc.array(fc.constantFrom(...HOSTS), { maxLength: 2 }),
      createdAt: fc.constantFrom(0, 1),
      namespace: fc.constantFrom("x", "y"),
      rules: fc.array(fc.array(anyMatch, { maxLength: 4 }), { minLength: 1, maxLength: 5 }),
    }),
    { minLength: 1, maxLength: 6 },
  )
  .map((all) =>
    all.map(({ hostnames, createdAt, namespace, rules }, i) =>
      route(`${namespace}/r${i}`, {
        hostnames,
        createdAt,
        rules: rules.map((matches, r) => routeRule({ name: `rule${r}`, matches })),
      }),
    ),
  );

/** Many matches of few paths, as tables are made for. */
const crowdOf = fc
  .array(
    fc
      .record({
        path: fc.constantFrom("/", "/", "/a", "~.*"),
        method: fc.option(fc.constantFrom(...METHODS), { nil: undefined }),
        headers: values,
        query: values,
      })
      .map((parts) => match(parts)),
    { minLength: 20, maxLength: 60 },
  )
  .map((matches) => [
    route("x/crowd", { rules: matches.map((each, r) => routeRule({ name: `rule${r}`, matches: [each] })) }),
  ]);

const request: fc.Arbitrary<SlowRequest> = fc.record({
  method: fc.constantFrom(...METHODS, "HEAD"),
  hostname: fc.constantFrom("a.test", "b.a.test", "c.b.a.test", "test", "other", "x.test"),
  target: fc
    .tuple(
      fc.oneof(
        fc.array(fc.constantFrom(...SEGMENTS, ""), { maxLength: 4 }).map((all) => `/${all.join("/")}`),
        fc.constantFrom("*", "/abb", "/a/", "/bb"),
      ),
      fc.constantFrom(...QUERIES),
    )
    .map(([path, query]) => path + query),
  headers: fc.dictionary(fc.constantFrom("p", "q", "r"), fc.constantFrom("1", "2", "3", "12", "")),
});

/** What the router says, in the words of the slow one. */
function find(group: RouteGroup, { method, hostname, target, headers }: SlowRequest): string | undefined {
  const [path = "", ...rest] = target.split("?");
  const found = group.find({
    method,
    hostname,
    path,
    query: rest.length === 0 ? "" : `?${rest.join("?")}`,
    headers: group.headerNames.map((name) => headers[name]),
  });
  if (!isFailure(found)) return `${found.route.uid} ${found.name}`;
  assert.equal(found.code, "ROUTE_NOT_FOUND");
  return undefined;
}

function agree(routes: readonly HttpRoute[], requests: readonly SlowRequest[]): void {
  const group = new RouteGroup(routes);
  for (const each of requests) assert.equal(find(group, each), slowlyFind(routes, each), JSON.stringify(each));
}

/** One of `corpus/routes.json`: the smallest cases that told a router that was broken on purpose. */
interface Kept {
  readonly routes: readonly HttpRoute[];
  readonly requests: readonly SlowRequest[];
}

/** The kept cases, then `groups` others of twenty requests each; throws with the smallest one that differs. */
export function fuzzRoutes(groups: number, seed?: number): void {
  for (const text of kept) {
    const { routes, requests } = JSON.parse(text) as Kept;
    agree(routes, requests);
  }
  fc.assert(
    fc.property(
      fc.oneof(routesOf, crowdOf),
      fc.array(request, { minLength: 20, maxLength: 20 }),
      (routes, requests) => {
        agree(routes, requests);
      },
    ),
    { numRuns: groups, ...(seed === undefined ? {} : { seed }) },
  );
}

if (import.meta.main) {
  const [groups = "50000", seed] = process.argv.slice(2);
  fuzzRoutes(Number(groups), seed === undefined ? undefined : Number(seed));
  process.stdout.write(`${Number(groups) * 20} requests, no difference\n`);
}
