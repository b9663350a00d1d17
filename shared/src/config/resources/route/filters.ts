// Pure. What a rule, or one of its backends, does to requests and responses: one entry of `filters` each.
import type { HttpRouteMatch } from "../../http-route.ts";
import { isDnsName } from "../../names.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import type { FilterDraft, Metadata } from "../resource.ts";
import { parseBackendRef } from "./backend-ref.ts";
import { atMost, ROUTE_LIMITS } from "./bounds.ts";
import { parseCors } from "./cors.ts";
import { parseHeaderEdit } from "./header-edit.ts";
import { parseRedirect, parseRewrite } from "./rewrite.ts";

/** Kind and group of the one resource that `ExtensionRef` may name. */
export const HTTP_FILTER = { group: "culvert.dev", kind: "HTTPFilter" } as const;

/** Where the filters stand, and what may stand there. */
export interface FilterPlace {
  readonly level: "rule" | "backend";
  readonly matches: readonly HttpRouteMatch[];
  readonly types: ReadonlySet<string>;
}

/** Filters of an HTTPRoute. */
export const HTTP_FILTERS: ReadonlySet<string> = new Set([
  "RequestHeaderModifier",
  "ResponseHeaderModifier",
  "RequestMirror",
  "RequestRedirect",
  "URLRewrite",
  "CORS",
  "ExtensionRef",
]);

/** Filters of a GRPCRoute. */
export const GRPC_FILTERS: ReadonlySet<string> = new Set([
  "RequestHeaderModifier",
  "ResponseHeaderModifier",
  "RequestMirror",
  "ExtensionRef",
]);

/** Filters that a list may have several times. */
const REPEATABLE = new Set(["RequestMirror", "ExtensionRef"]);

/** Reads `filters`; whatever is wrong there is reported at `report`, whose part of the traffic must then fail: a filter is never skipped. */
export function parseFilters(metadata: Metadata, owner: Fields, place: FilterPlace, report: Report): FilterDraft[] {
  atMost(owner, "filters", ROUTE_LIMITS.filters, report);
  const filters: FilterDraft[] = [];
  const seen = new Set<string>();
  for (const { fields } of owner.each("filters", () => report)) {
    const type = fields.string("type");
    if (type === undefined || !place.types.has(type)) {
      const known = [...place.types].join(", ");
      report.notUnderstood(fields.node, fields.at("type"), `expected one of ${known}, found ${type ?? "nothing"}`);
      continue;
    }
    if (seen.has(type) && !REPEATABLE.has(type)) {
      report.notUnderstood(fields.node, fields.path, `there is another ${type}`, "IncompatibleFilters");
    }
    seen.add(type);
    const filter = parseFilter(type, metadata, fields, place, report);
    fields.end();
    if (filter !== undefined) filters.push(filter);
  }
  if (seen.has("RequestRedirect") && seen.has("URLRewrite")) {
    const text = "RequestRedirect and URLRewrite exclude each other";
    report.notUnderstood(owner.node, owner.at("filters"), text, "IncompatibleFilters");
  }
  return filters;
}

function parseFilter(
  type: string,
  metadata: Metadata,
  filter: Fields,
  { level, matches }: FilterPlace,
  report: Report,
): FilterDraft | undefined {
  const name = type === "CORS" ? "cors" : type === "URLRewrite" ? "urlRewrite" : type[0]?.toLowerCase() + type.slice(1);
  const fields = filter.fields(name, report);
  if (fields === undefined) {
    if (filter.get(name) === undefined)
      report.malformed(filter.node, filter.at(name), "expected a mapping, found nothing");
    return undefined;
  }
  switch (type) {
    case "RequestHeaderModifier":
      return { kind: "request-headers", edit: parseHeaderEdit(fields, report) };
    case "ResponseHeaderModifier":
      return { kind: "response-headers", edit: parseHeaderEdit(fields, report) };
    case "URLRewrite":
      return parseRewrite(fields, matches, report);
    case "RequestRedirect":
      return parseRedirect(fields, matches, report);
    case "RequestMirror":
      return parseMirror(metadata, fields, report);
    case "CORS":
      // The preflight is answered before a backend is chosen.
      if (level === "backend")
        report.notUnderstood(fields.node, fields.path, "belongs to the rule", "IncompatibleFilters");
      return parseCors(fields, report);
    default:
      return parseExtension(fields, report);
  }
}

function parseMirror(metadata: Metadata, fields: Fields, report: Report): FilterDraft | undefined {
  const to = fields.fields("backendRef", report);
  const percent = fields.integer("percent", 0, 100);
  const fraction = fields.fields("fraction", report);
  const numerator = fraction?.integer("numerator", 0, 2 ** 31 - 1);
  const denominator = fraction?.integer("denominator", 1, 2 ** 31 - 1) ?? 100;
  fraction?.end();
  fields.end();
  if (fraction !== undefined && percent !== undefined) {
    report.malformed(fields.node, fields.path, "expected percent or fraction, found both");
  } else if (fraction !== undefined && (numerator === undefined || numerator > denominator)) {
    report.malformed(fraction.node, fraction.path, `expected a numerator from 0 to ${denominator}`);
  }
  if (to === undefined)
    return report.malformed(fields.node, fields.at("backendRef"), "expected a backend, found nothing");
  const backend = parseBackendRef(metadata, to, report);
  const share = { numerator: numerator ?? percent ?? 100, denominator };
  return { kind: "mirror", backend, ...share, path: to.path };
}

/** A resource of the route's namespace, whose content is put in its place once all resources are known. */
function parseExtension(fields: Fields, report: Report): FilterDraft | undefined {
  const group = fields.string("group");
  const kind = fields.string("kind");
  const name = fields.string("name", "a resource name", isDnsName);
  fields.end();
  if (group !== HTTP_FILTER.group || kind !== HTTP_FILTER.kind) {
    const text = `expected ${HTTP_FILTER.kind} of ${HTTP_FILTER.group}, found ${group ?? ""}/${kind ?? ""}`;
    return report.notUnderstood(fields.node, fields.path, text, "InvalidKind");
  }
  if (name === undefined) return report.malformed(fields.node, fields.at("name"), "expected the name of an HTTPFilter");
  return { kind: "extension", name, path: fields.path };
}
