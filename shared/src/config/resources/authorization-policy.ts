// Pure. security.istio.io AuthorizationPolicy. Whatever it holds that Culvert cannot decide makes the whole policy deny
// what it selects: a rule that is skipped would let through what it was written to stop.
import { parseCidr, type Cidr } from "../../net/ip.ts";
import type {
  AuthorizationPolicy,
  PolicyOperation,
  PolicyRule,
  PolicySource,
  PolicyTarget,
  PolicyTargetRef,
  StringMatch,
} from "../../policy/authorization.ts";
import { isDnsName } from "../names.ts";
import type { Fields, Item } from "./fields.ts";
import { DRY_RUN_ANNOTATION } from "./metadata.ts";
import type { Report } from "./report.ts";
import type { AuthorizationPolicyResource, Metadata } from "./resource.ts";
import { parseSelector } from "./selector.ts";

/** Reads the `spec` of an AuthorizationPolicy; without one it is the policy that allows nothing. */
export function parseAuthorizationPolicy(
  metadata: Metadata,
  spec: Fields | undefined,
  report: Report,
): AuthorizationPolicyResource {
  const action = spec?.string("action") ?? "ALLOW";
  if (spec !== undefined && action !== "ALLOW" && action !== "DENY") {
    report.notUnderstood(spec.get("action") ?? spec.node, spec.at("action"), `expected ALLOW or DENY, found ${action}`);
  }
  const target: PolicyTarget = spec === undefined ? { kind: "namespace" } : parseTarget(metadata, spec, report);
  const rules: PolicyRule[] = [];
  for (const { fields } of spec?.each("rules") ?? []) rules.push(parseRule(fields, report));
  spec?.end();
  const policy: AuthorizationPolicy = {
    uid: `${metadata.namespace}/${metadata.name}`,
    namespace: metadata.namespace,
    name: metadata.name,
    action: action === "DENY" ? "DENY" : "ALLOW",
    dryRun: metadata.annotations.get(DRY_RUN_ANNOTATION) === "true",
    target,
    rules,
    notUnderstood: report.reason,
  };
  return { kind: "AuthorizationPolicy", metadata, policy };
}

/** What the policy applies to. Where that cannot be understood it applies to more, not to less. */
function parseTarget(metadata: Metadata, spec: Fields, report: Report): PolicyTarget {
  const selector = parseSelector(spec, report);
  const refs: PolicyTargetRef[] = [];
  let wider = false;
  const read = (fields: Fields): void => {
    const ref = parseTargetRef(metadata, fields, report);
    if (ref === undefined) wider = true;
    else refs.push(ref);
  };
  const single = spec.fields("targetRef");
  if (single !== undefined) read(single);
  for (const { fields } of spec.each("targetRefs")) read(fields);
  const named = spec.get("targetRef") !== undefined || spec.get("targetRefs") !== undefined;
  if (named && spec.get("selector") !== undefined) {
    report.notUnderstood(spec.node, spec.path, "expected selector or targetRefs, found both");
    wider = true;
  }
  if (named && refs.length === 0) report.malformed(spec.node, spec.at("targetRefs"), "expected at least one reference");
  if (wider) return { kind: "namespace" };
  if (refs.length > 0) return { kind: "refs", refs };
  return selector === undefined ? { kind: "namespace" } : { kind: "selector", labels: selector };
}

function parseTargetRef(metadata: Metadata, fields: Fields, report: Report): PolicyTargetRef | undefined {
  const group = fields.string("group") ?? "";
  const kind = fields.string("kind");
  const name = fields.string("name", "a resource name", isDnsName);
  const namespace = fields.string("namespace") ?? metadata.namespace;
  fields.end();
  if (namespace !== metadata.namespace) {
    return report.notUnderstood(fields.node, fields.at("namespace"), "only the policy's own namespace is supported");
  }
  if (name === undefined) return report.malformed(fields.node, fields.at("name"), "expected the name of a resource");
  if (kind === "Service" && (group === "" || group === "core")) return { kind, name };
  if (kind === "Gateway" && group === "gateway.networking.k8s.io") return { kind, name };
  if (kind === "ServiceEntry" && group === "networking.istio.io") return { kind, name };
  const expected = "expected a Service, ServiceEntry or Gateway";
  return report.notUnderstood(fields.node, fields.path, `${expected}, found ${group}/${kind ?? ""}`);
}

function parseRule(fields: Fields, report: Report): PolicyRule {
  const from = [...parts(fields, "from", "source", report)].map((source) => parseSource(source, report));
  const to = [...parts(fields, "to", "operation", report)].map((operation) => parseOperation(operation, report));
  const when = fields.get("when");
  if (when !== undefined && !(when.kind === "list" && when.items.length === 0)) {
    report.notUnderstood(when, fields.at("when"), "conditions are not supported in this release");
  }
  fields.end();
  return { from, to };
}

/** The `source`s of `from`, the `operation`s of `to`. An empty one would match everybody, which nobody means. */
function* parts(fields: Fields, list: string, item: string, report: Report): Generator<Fields> {
  const node = fields.get(list);
  if (node?.kind === "list" && node.items.length === 0) {
    report.malformed(node, fields.at(list), `expected at least one ${item}; leave ${list} out to match all`);
  }
  for (const { fields: entry } of fields.each(list)) {
    const part = entry.fields(item);
    entry.end();
    if (part !== undefined && part.node.entries.size > 0) yield part;
    else if (part !== undefined || entry.get(item) === undefined) {
      report.malformed(entry.node, entry.at(item), `expected at least one field; leave ${list} out to match all`);
    }
  }
}

function parseSource(fields: Fields, report: Report): PolicySource {
  const source = present<PolicySource>({
    principals: matches(fields, "principals", report, isPrincipal),
    notPrincipals: matches(fields, "notPrincipals", report, isPrincipal),
    namespaces: matches(fields, "namespaces", report),
    notNamespaces: matches(fields, "notNamespaces", report),
    ipBlocks: values(fields, "ipBlocks", report, cidr),
    notIpBlocks: values(fields, "notIpBlocks", report, cidr),
  });
  fields.end();
  return source;
}

function parseOperation(fields: Fields, report: Report): PolicyOperation {
  const operation = present<PolicyOperation>({
    ports: values(fields, "ports", report, port),
    notPorts: values(fields, "notPorts", report, port),
    hosts: matches(fields, "hosts", report),
    notHosts: matches(fields, "notHosts", report),
    methods: matches(fields, "methods", report),
    notMethods: matches(fields, "notMethods", report),
    paths: matches(fields, "paths", report, isPath),
    notPaths: matches(fields, "notPaths", report, isPath),
  });
  fields.end();
  return operation;
}

/** The fields that are there: an absent one matches everything, an empty one would match nothing. */
function present<T extends object>(fields: { readonly [K in keyof T]-?: T[K] | undefined }): T {
  // Exactly the keys of T without those that are undefined, all of which are optional in T.
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

/** A value of a list, or what was expected in its place. */
type Read<T> = { readonly value: T } | { readonly expected: string };

function matches(
  fields: Fields,
  name: string,
  report: Report,
  check: (text: string) => string | undefined = () => undefined,
): StringMatch[] | undefined {
  return values<StringMatch>(fields, name, report, ({ node }) => {
    const text = node.kind === "scalar" && typeof node.value === "string" ? node.value : "";
    if (text === "") return { expected: "a string (in quotes if it looks like another type)" };
    const expected = check(text);
    if (expected !== undefined) return { expected };
    const match = stringMatch(text);
    return match === undefined ? { expected: "at most one *, at the beginning or the end" } : { value: match };
  });
}

/** A list of values. An empty list is refused: to Kubernetes it is absent and matches everything, to a reader nothing. */
function values<T>(fields: Fields, name: string, report: Report, read: (item: Item) => Read<T>): T[] | undefined {
  const items = fields.list(name);
  if (items === undefined) return undefined;
  if (items.length === 0)
    report.malformed(fields.get(name) ?? fields.node, fields.at(name), "expected at least one value");
  const list: T[] = [];
  for (const item of items) {
    const result = read(item);
    if ("value" in result) list.push(result.value);
    else report.expected(item.node, item.path, result.expected);
  }
  return list;
}

/** `abc`, `abc*`, `*abc` or `*`; `undefined` for a `*` elsewhere, which would be compared as a letter. */
function stringMatch(text: string): StringMatch | undefined {
  if (text === "*") return { kind: "presence", value: "" };
  const star = text.indexOf("*");
  if (star < 0) return { kind: "exact", value: text };
  if (star !== text.lastIndexOf("*")) return undefined;
  if (star === 0) return { kind: "suffix", value: text.slice(1) };
  return star === text.length - 1 ? { kind: "prefix", value: text.slice(0, -1) } : undefined;
}

function isPrincipal(text: string): string | undefined {
  return text.startsWith("spiffe:")
    ? "a principal without spiffe://, such as cluster.local/ns/default/sa/reviews"
    : undefined;
}

function isPath(text: string): string | undefined {
  return /[{}]/.test(text) ? "a path without templates, which are not supported in this release" : undefined;
}

function cidr({ node }: Item): Read<Cidr> {
  const block = node.kind === "scalar" && typeof node.value === "string" ? parseCidr(node.value) : undefined;
  return block === undefined ? { expected: "an IP address or CIDR block" } : { value: block };
}

/** Ports are strings in Istio; a plain number says the same. */
function port({ node }: Item): Read<number> {
  const value = node.kind === "scalar" ? node.value : undefined;
  const number = typeof value === "string" && /^\d{1,5}$/.test(value) ? Number(value) : value;
  const isPort = typeof number === "number" && Number.isInteger(number) && number > 0 && number <= 65535;
  return isPort ? { value: number } : { expected: "a port" };
}
