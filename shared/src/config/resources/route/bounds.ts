// Pure. How much a route may say: the limits of Gateway API, which its resources have on Kubernetes anyway.
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";

/** Most entries of each list. */
export const ROUTE_LIMITS = {
  parents: 32,
  hostnames: 16,
  rules: 16,
  matchesPerRule: 64,
  matchesPerRoute: 128,
  /** Of one match: headers, and query parameters. */
  namedPerMatch: 16,
  filters: 16,
  backends: 16,
  /** Of each of `set`, `add` and `remove`. */
  headerEdits: 16,
  /** Of all regular expressions of a route: some 50 ms to read. Not of Gateway API, which would allow a thousand times as much. */
  patternCharacters: 16_384,
} as const;

/** Reports a list with more entries than it may have. */
export function atMost(fields: Fields, name: string, most: number, report: Report): void {
  const node = fields.get(name);
  if (node?.kind !== "list" || node.items.length <= most) return;
  report.malformed(node, fields.at(name), `expected at most ${most} entries, found ${node.items.length}`);
}
