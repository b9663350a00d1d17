// Pure. gateway.networking.k8s.io HTTPRoute: parents, matches, weighted backends. What a rule does and Culvert cannot yet
// do makes that rule answer 500; what a rule matches by and Culvert cannot yet tell apart makes the whole route answer
// 500, because any request might be meant.
import { isDnsLabel, isDnsName } from "../names.ts";
import type { HttpRouteBackend, HttpRouteMatch, NamedMatch, HttpRouteRule, RouteParent } from "../http-route.ts";
import type { Fields } from "./fields.ts";
import { placeOf, type Report } from "./report.ts";
import type { HttpRouteResource, Metadata } from "./resource.ts";

const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] as const;

/** What a rule is that says nothing more. */
const PLAIN_RULE = {
  filters: [],
  timeouts: { requestMs: 0, backendRequestMs: 0 },
  retry: undefined,
  persistence: undefined,
} as const;

/** Weights above this are refused by Gateway API as well. */
const MOST_WEIGHT = 1_000_000;

/** Reads the `spec` of an HTTPRoute. `report` is the route's; each rule has its own. */
export function parseHttpRoute(
  metadata: Metadata,
  spec: Fields | undefined,
  report: Report,
): HttpRouteResource | undefined {
  if (spec === undefined) return report.error(placeOf(metadata), "spec", "expected a mapping, found nothing");
  const parents = [...parseParents(metadata, spec, report)];
  const hostnames = [...parseHostnames(spec, report)];
  const rules: HttpRouteRule[] = [];
  for (const { fields, report: rule } of spec.each("rules", () => report.part())) {
    rules.push(parseRule(metadata, fields, rule, report));
  }
  // An absent list of rules is one rule that matches everything and has no backend (Gateway API default).
  if (spec.get("rules") === undefined)
    rules.push({ ...PLAIN_RULE, name: undefined, matches: [], backends: [], notUnderstood: undefined });
  spec.end();
  return {
    kind: "HTTPRoute",
    metadata,
    route: {
      kind: "HTTPRoute",
      uid: `${metadata.namespace}/${metadata.name}`,
      namespace: metadata.namespace,
      name: metadata.name,
      createdAt: metadata.createdAt,
      parents,
      hostnames,
      rules,
      notUnderstood: report.reason,
    },
  };
}

/** The Services that the route is attached to; a Gateway as parent is the business of ingress. */
function* parseParents(metadata: Metadata, spec: Fields, report: Report): Generator<RouteParent> {
  for (const { fields } of spec.each("parentRefs")) {
    const group = fields.string("group") ?? "gateway.networking.k8s.io";
    const kind = fields.string("kind") ?? "Gateway";
    const name = fields.string("name", "a resource name", isDnsName);
    const namespace = fields.string("namespace", "a namespace", isDnsLabel) ?? metadata.namespace;
    const port = fields.integer("port", 1, 65535);
    const sectionName = fields.string("sectionName");
    if (kind === "Gateway" && group === "gateway.networking.k8s.io") continue;
    if (kind !== "Service" || (group !== "" && group !== "core")) {
      report.notUnderstood(fields.node, fields.path, `expected a Service or Gateway, found ${group}/${kind}`);
      continue;
    }
    if (sectionName !== undefined) {
      report.notUnderstood(fields.node, fields.at("sectionName"), "is not supported for a Service; use port");
    }
    fields.end();
    if (name !== undefined) yield { namespace, name, kind: "service", port, sectionName: undefined };
    else if (fields.get("name") === undefined)
      report.malformed(fields.node, fields.at("name"), "expected a name, found nothing");
  }
}

function* parseHostnames(spec: Fields, report: Report): Generator<string> {
  for (const { node, path } of spec.list("hostnames") ?? []) {
    const value = node.kind === "scalar" && typeof node.value === "string" ? node.value : "";
    if (isDnsName(value.startsWith("*.") ? value.slice(2) : value)) yield value;
    else report.expected(node, path, "a host name, or *. and a host name");
  }
}

function parseRule(metadata: Metadata, fields: Fields, rule: Report, route: Report): HttpRouteRule {
  const name = fields.string("name");
  const matches: HttpRouteMatch[] = [];
  for (const { fields: match } of fields.each("matches", () => route)) matches.push(parseMatch(match, route));
  const backends: HttpRouteBackend[] = [];
  for (const { fields: backend } of fields.each("backendRefs")) backends.push(parseBackend(metadata, backend, rule));
  for (const unsupported of ["filters", "timeouts", "retry", "sessionPersistence"]) refuse(fields, unsupported, rule);
  fields.end();
  return { ...PLAIN_RULE, name, matches, backends, notUnderstood: rule.reason };
}

/** One match. What cannot be told apart is reported at the route, and what is left of the match is wider than it was. */
function parseMatch(fields: Fields, report: Report): HttpRouteMatch {
  const path = parsePath(fields.fields("path"), report);
  const method = fields.word("method", METHODS);
  const headers: NamedMatch[] = [];
  for (const { fields: header } of fields.each("headers")) {
    const type = header.string("type") ?? "Exact";
    const name = header.string("name", "a header name", (text) => /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$/.test(text));
    const value = header.string("value");
    header.end();
    if (type !== "Exact") report.notUnderstood(header.node, header.at("type"), "only Exact is supported");
    else if (name !== undefined && value !== undefined)
      headers.push({ name: name.toLowerCase(), kind: "exact", value });
    else report.malformed(header.node, header.path, "expected a name and a value");
  }
  refuse(fields, "queryParams", report);
  fields.end();
  return { path, method, headers, query: [] };
}

function parsePath(fields: Fields | undefined, report: Report): HttpRouteMatch["path"] {
  const everything = { kind: "prefix", value: "/" } as const;
  if (fields === undefined) return everything;
  const type = fields.string("type") ?? "PathPrefix";
  const value = fields.string("value") ?? "/";
  fields.end();
  if (type !== "Exact" && type !== "PathPrefix") {
    report.notUnderstood(fields.node, fields.at("type"), "only Exact and PathPrefix are supported");
    return everything;
  }
  if (!isPathValue(value)) {
    report.expected(
      fields.get("value") ?? fields.node,
      fields.at("value"),
      "a path that begins with / and is in normal form",
    );
    return everything;
  }
  return { kind: type === "Exact" ? "exact" : "prefix", value };
}

/** What Gateway API allows: nothing that normalization of the request would have taken away. */
function isPathValue(value: string): boolean {
  return /^\/[^\s?#]{0,1023}$/.test(value) && !/\/\/|\/\.\.?(\/|$)|%2f/i.test(value);
}

/** One backend; a reference that can never be served keeps its share of the requests, which then fail. */
function parseBackend(metadata: Metadata, fields: Fields, rule: Report): HttpRouteBackend {
  const group = fields.string("group") ?? "";
  const kind = fields.string("kind") ?? "Service";
  const name = fields.string("name", "a resource name", isDnsName);
  const namespace = fields.string("namespace", "a namespace", isDnsLabel) ?? metadata.namespace;
  const port = fields.integer("port", 1, 65535);
  const weight = fields.integer("weight", 0, MOST_WEIGHT);
  refuse(fields, "filters", rule);
  fields.end();
  const isHost = kind === "Hostname" && group === "networking.istio.io";
  let invalid: string | undefined;
  if (!isHost && (kind !== "Service" || (group !== "" && group !== "core"))) {
    invalid = `expected a Service, or a Hostname of networking.istio.io, found ${group}/${kind}`;
  } else if (name === undefined) invalid = `expected the name of a ${isHost ? "host" : "Service"}`;
  else if (port === undefined) invalid = `expected a port of the ${isHost ? "host" : "Service"}`;
  // The problem is the operator's to see; the rule itself is understood.
  if (invalid !== undefined) rule.part().notUnderstood(fields.node, fields.path, invalid);
  const to = { kind: isHost ? "host" : "service", namespace, name: name ?? "", port: port ?? 0 } as const;
  return { ...to, weight: weight ?? 1, filters: [], invalid };
}

/** A field that is known to Gateway API and not supported yet; an empty list of it asks for nothing. */
function refuse(fields: Fields, name: string, report: Report): void {
  const node = fields.get(name);
  if (node === undefined || (node.kind === "list" && node.items.length === 0)) return;
  report.notUnderstood(node, fields.at(name), "is not supported in this release");
}
