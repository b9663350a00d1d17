// Pure. Why a match does or does not hold for a request: the conditions of the router, asked for their reasons.
import type { Condition, Entry, RoutedRule } from "./entry.ts";
import type { Search } from "./search.ts";

/** What is to be said of one match. */
export interface Judged {
  readonly routed: RoutedRule;
  /** Host name of the route under which the match stands; empty: any. */
  readonly host: string;
  /** Host and path fit: what is left are its other conditions. */
  readonly near: boolean;
  /** What does not hold; empty: all of it does. */
  readonly why: readonly string[];
}

/** Judges an entry by the request that `search` has begun; `names` are those of its slots. */
export function judge(entry: Entry, host: string, search: Search, names: SlotNames): Judged {
  const { hostname, path } = search.request;
  const why: string[] = [];
  if (!hostFits(host, hostname)) why.push(`host ${hostname} is not ${host}`);
  if (!pathFits(entry, search)) {
    const { kind, value } = entry.routed.match.path;
    const wanted = { exact: "is not", prefix: "is not below", regex: "does not match" }[kind];
    why.push(`path ${path.slice(0, 200)} ${wanted} ${value}`);
  }
  const near = why.length === 0;
  for (const condition of entry.conditions) {
    if (search.holds(condition, entry.rank)) continue;
    why.push(`${nameOf(condition, names)} ${whatIsThere(condition, search)}`);
  }
  return { routed: entry.routed, host, near, why };
}

/** Names by slot. */
export interface SlotNames {
  readonly headers: readonly string[];
  readonly query: readonly string[];
}

function hostFits(host: string, hostname: string): boolean {
  if (host === "" || host === hostname) return true;
  return host.startsWith("*.") && hostname.length >= host.length && hostname.endsWith(host.slice(1));
}

function pathFits(entry: Entry, search: Search): boolean {
  const { kind, value } = entry.routed.match.path;
  const { path } = search.request;
  if (kind === "exact") return path === value;
  if (!path.startsWith("/")) return false;
  if (entry.path !== undefined) return search.holds(entry.path, entry.rank);
  const prefix = value.replace(/\/$/, "");
  return path === prefix || path.startsWith(`${prefix}/`);
}

function nameOf({ of, slot }: Condition, { headers, query }: SlotNames): string {
  if (of === "header") return `header ${headers[slot] ?? ""}`;
  return of === "query" ? `query parameter ${query[slot] ?? ""}` : of;
}

function whatIsThere(condition: Condition, search: Search): string {
  const value = search.valueAt(condition);
  const wanted = JSON.stringify(condition.value);
  if (value === undefined)
    return `is absent, expected ${condition.pattern === undefined ? wanted : `to match ${wanted}`}`;
  const found = JSON.stringify(value.slice(0, 200));
  if (condition.pattern === undefined) return `is ${found}, expected ${wanted}`;
  if (condition.verdict === undefined) return `of ${value.length} characters is too long for ${wanted}`;
  return `is ${found}, which ${wanted} does not match`;
}
