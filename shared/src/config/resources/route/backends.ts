// Pure. Where the requests and connections of a rule go: references with weights and filters of their own.
import type { HttpRouteMatch } from "../../http-route.ts";
import type { StreamRouteBackend } from "../../stream-route.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import type { HttpBackendDraft, Metadata } from "../resource.ts";
import { parseBackendRef } from "./backend-ref.ts";
import { atMost, ROUTE_LIMITS } from "./bounds.ts";
import { parseFilters } from "./filters.ts";

/** Weights above this are refused by Gateway API as well. */
const MOST_WEIGHT = 1_000_000;

/** The backends of a rule of an HTTPRoute or GRPCRoute. What is wrong with a filter of a backend makes that backend's share fail. */
export function parseHttpBackends(
  metadata: Metadata,
  rule: Fields,
  matches: readonly HttpRouteMatch[],
  filterTypes: ReadonlySet<string>,
  report: Report,
): HttpBackendDraft[] {
  atMost(rule, "backendRefs", ROUTE_LIMITS.backends, report);
  const backends: HttpBackendDraft[] = [];
  for (const { fields } of rule.each("backendRefs")) {
    const weight = parseWeight(fields);
    const own = report.part();
    const filters = parseFilters(metadata, fields, { level: "backend", types: filterTypes, matches }, own);
    const ref = parseBackendRef(metadata, fields, report);
    backends.push({ ...ref, weight, filters, invalid: ref.invalid ?? own.reason });
  }
  return backends;
}

/** The backends of a rule of a TCPRoute or TLSRoute. */
export function parseStreamBackends(metadata: Metadata, rule: Fields, report: Report): StreamRouteBackend[] {
  atMost(rule, "backendRefs", ROUTE_LIMITS.backends, report);
  const backends: StreamRouteBackend[] = [];
  for (const { fields } of rule.each("backendRefs")) {
    const weight = parseWeight(fields);
    backends.push({ ...parseBackendRef(metadata, fields, report), weight });
  }
  return backends;
}

function parseWeight(fields: Fields): number {
  return fields.integer("weight", 0, MOST_WEIGHT) ?? 1;
}
