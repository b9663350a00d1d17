// Pure. What the four kinds of routes have in common around their rules: parents and host names.
import { isDnsLabel, isDnsName } from "../../names.ts";
import type { RouteParent } from "../../http-route.ts";
import type { Fields } from "../fields.ts";
import { placeOf, type Report } from "../report.ts";
import type { GatewayParent, Metadata } from "../resource.ts";
import { atMost, ROUTE_LIMITS } from "./bounds.ts";

const GATEWAY_API = "gateway.networking.k8s.io";

/** What a route is attached to. */
export interface Parents {
  readonly parents: readonly RouteParent[];
  /** Those of other classes than a waypoint's are the business of ingress. */
  readonly gateways: readonly GatewayParent[];
}

/** Reads `parentRefs`. A parent of a kind that is not known here may be somebody else's: it is told, and the others are served. */
export function parseParents(metadata: Metadata, spec: Fields, report: Report): Parents {
  atMost(spec, "parentRefs", ROUTE_LIMITS.parents, report);
  const parents: RouteParent[] = [];
  const gateways: GatewayParent[] = [];
  for (const { fields } of spec.each("parentRefs")) {
    const group = fields.string("group") ?? GATEWAY_API;
    const kind = fields.string("kind") ?? "Gateway";
    const name = fields.string("name", "a resource name", isDnsName);
    const namespace = fields.string("namespace", "a namespace", isDnsLabel) ?? metadata.namespace;
    const port = fields.integer("port", 1, 65535);
    const sectionName = fields.string("sectionName", "the name of a port", isDnsName);
    const isGateway = kind === "Gateway" && group === GATEWAY_API;
    const parent = kindOfParent(group, kind);
    if (isGateway && name !== undefined) gateways.push({ namespace, name, port, sectionName });
    if (isGateway) continue;
    if (parent === undefined) {
      const text = `expected a Service, ServiceEntry or Gateway, found ${group}/${kind}`;
      report.part().notUnderstood(fields.node, fields.path, text);
      continue;
    }
    fields.end();
    if (name !== undefined) parents.push({ namespace, name, kind: parent, port, sectionName });
    else if (fields.get("name") === undefined)
      report.malformed(fields.node, fields.at("name"), "expected a name, found nothing");
  }
  return { parents, gateways };
}

function kindOfParent(group: string, kind: string): RouteParent["kind"] | undefined {
  if (kind === "Service" && (group === "" || group === "core")) return "service";
  return kind === "ServiceEntry" && group === "networking.istio.io" ? "entry" : undefined;
}

/** Exact host names, and `*.` with one. */
export function* parseHostnames(spec: Fields, report: Report): Generator<string> {
  atMost(spec, "hostnames", ROUTE_LIMITS.hostnames, report);
  for (const { node, path } of spec.list("hostnames") ?? []) {
    const value = node.kind === "scalar" && typeof node.value === "string" ? node.value : "";
    if (isDnsName(value.startsWith("*.") ? value.slice(2) : value)) yield value;
    else report.expected(node, path, "a host name, or *. and a host name");
  }
}

/** The name of a rule, which no other rule of the route has. */
export function parseRuleName(rule: Fields, known: Set<string>, report: Report): string | undefined {
  const name = rule.string("name", "a name of lower-case letters, digits, - and .", isDnsName);
  if (name === undefined) return undefined;
  if (known.has(name)) report.malformed(rule.node, rule.at("name"), `another rule has the name ${name}`);
  known.add(name);
  return name;
}

/** The name under which a resource is known, with its place for problems of what is absent. */
export function identify(metadata: Metadata): { uid: string; namespace: string; name: string; createdAt: number } {
  const { namespace, name, createdAt } = metadata;
  return { uid: `${namespace}/${name}`, namespace, name, createdAt };
}

/** The `spec`, or the problem that there is none. */
export function requireSpec(metadata: Metadata, spec: Fields | undefined, report: Report): Fields | undefined {
  return spec ?? report.error(placeOf(metadata), "spec", "expected a mapping, found nothing");
}
