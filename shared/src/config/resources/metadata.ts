// Pure. `metadata` of any resource, and the labels and annotations that Culvert reads from it.
import { isFailure } from "../../failure/failure.ts";
import { parseTrustDomain } from "../../identity/spiffe-id.ts";
import { isDnsLabel, isDnsName, isLabelKey, isLabelValue } from "../names.ts";
import type { MapNode, Node } from "../tree.ts";
import { Fields } from "./fields.ts";
import type { Report } from "./report.ts";
import type { Metadata } from "./resource.ts";

/** Keeps a workload, or a whole namespace, out of the mesh (`none`). */
export const DATAPLANE_MODE_LABEL = "istio.io/dataplane-mode";

/** The network of a workload, or that which a gateway leads into. */
export const NETWORK_LABEL = "topology.istio.io/network";

/** What a waypoint serves. */
export const WAYPOINT_FOR_LABEL = "istio.io/waypoint-for";

/** Where a waypoint runs. */
export const PLACEMENT_ANNOTATION = "culvert.dev/placement";

/** The account that a waypoint of placement `service-account` serves. */
export const FOR_SERVICE_ACCOUNT_ANNOTATION = "istio.io/for-service-account";

/** What callers do on a node without an instance of a waypoint of placement `node`. */
export const WITHOUT_LOCAL_ANNOTATION = "culvert.dev/without-local-instance";

/** How a waypoint shares its traffic with others of its namespace: `waypoint=90,waypoint-canary=10`. */
export const WAYPOINT_WEIGHTS_ANNOTATION = "culvert.dev/waypoint-weights";

/** Tunnel port of a workload that shares its address with others. */
export const HBONE_PORT_ANNOTATION = "culvert.dev/hbone-port";

/** Trust domain of a workload that belongs to another one than those who read the resource. */
export const TRUST_DOMAIN_ANNOTATION = "culvert.dev/trust-domain";

/** Only its waypoint may call it. */
export const REQUIRE_WAYPOINT_ANNOTATION = "culvert.dev/require-waypoint";

/** Namespaces for which a Service is there: names, `.` for its own, `*` for all, `~` for none, with commas between them. */
export const EXPORT_TO_ANNOTATION = "networking.istio.io/exportTo";

/** The policy is decided and logged, not enforced. */
export const DRY_RUN_ANNOTATION = "istio.io/dry-run";

/** Namespace of a resource that names none, as kubectl has it. */
const DEFAULT_NAMESPACE = "default";

/** Names of resources whose name becomes a label of a host name or of an identity. */
const NAMED_BY_LABEL = new Set(["Namespace", "Service"]);

/** Fields that the API server fills in. */
const FILLED_IN = ["uid", "resourceVersion", "generateName", "managedFields", "selfLink"].concat([
  "finalizers",
  "ownerReferences",
  "deletionTimestamp",
  "deletionGracePeriodSeconds",
]);

/** Reads `metadata` under a report that takes malformed values for errors; an error in it is an error of the folder, because without a name nothing can fail closed. */
export function parseMetadata(
  kind: string,
  resource: MapNode,
  node: Node | undefined,
  report: Report,
): Metadata | undefined {
  if (node === undefined) return report.error(resource, "metadata", "expected metadata with a name, found nothing");
  if (node.kind !== "map") return report.error(node, "metadata", "expected a mapping");
  const fields = new Fields(node, "metadata", report);
  const isName = NAMED_BY_LABEL.has(kind) ? isDnsLabel : isDnsName;
  const name = fields.string("name", "a DNS name in lower case", isName);
  if (fields.get("name") === undefined) report.error(node, "metadata.name", "expected a name, found nothing");
  const given = fields.string("namespace", "a DNS label in lower case", isDnsLabel);
  const labels = fields.strings("labels") ?? new Map<string, string>();
  const annotations = fields.strings("annotations") ?? new Map<string, string>();
  const created = fields.string("creationTimestamp", "a time (RFC 3339)", (text) => !Number.isNaN(Date.parse(text)));
  const generation = fields.integer("generation", 0, Number.MAX_SAFE_INTEGER) ?? 0;
  fields.ignore(...FILLED_IN);
  fields.end("error");

  for (const [key, value] of labels) {
    if (!isLabelKey(key)) report.error(node, "metadata.labels", `expected a label name, found ${JSON.stringify(key)}`);
    if (!isLabelValue(value)) {
      report.error(node, `metadata.labels["${key}"]`, `expected a label value, found ${JSON.stringify(value)}`);
    }
  }
  for (const key of annotations.keys()) {
    if (!isLabelKey(key)) report.error(node, "metadata.annotations", `expected a name, found ${JSON.stringify(key)}`);
  }
  checkMeanings(node, labels, annotations, report);
  if (name === undefined || report.problems.some((problem) => problem.severity === "error")) return undefined;
  return {
    namespace: kind === "Namespace" ? "" : (given ?? DEFAULT_NAMESPACE),
    name,
    labels,
    annotations,
    createdAt: created === undefined ? 0 : Date.parse(created),
    generation,
    source: resource.source,
    line: resource.line,
  };
}

/** The weights of waypoints by name: at most 16, each from 0 to 1,000,000 and not all 0. `undefined` when they are not. */
export function parseWaypointWeights(text: string): ReadonlyMap<string, number> | undefined {
  const weights = new Map<string, number>();
  for (const item of text.split(",")) {
    const [, name = "", digits = ""] = /^\s*([a-z0-9.-]+)=(\d{1,7})\s*$/.exec(item) ?? [];
    const weight = Number(digits);
    if (!isDnsName(name) || weight > 1_000_000 || weights.has(name) || weights.size === 16) return undefined;
    weights.set(name, weight);
  }
  return [...weights.values()].some((weight) => weight > 0) ? weights : undefined;
}

/** The namespaces of an `exportTo` in an annotation; "all", or `undefined` when it is none. */
export function parseExportTo(text: string, own: string): ReadonlySet<string> | "all" | undefined {
  const namespaces = new Set<string>();
  let everybody = false;
  for (const item of text.split(",").map((each) => each.trim())) {
    if (item === "*") everybody = true;
    else if (item === ".") namespaces.add(own);
    else if (isDnsLabel(item)) namespaces.add(item);
    else if (item !== "~") return undefined;
  }
  return everybody ? "all" : namespaces;
}

/** The labels and annotations that Culvert acts on, wherever they stand: a misspelt value must not pass for no value. */
function checkMeanings(
  node: Node,
  labels: ReadonlyMap<string, string>,
  annotations: ReadonlyMap<string, string>,
  report: Report,
): void {
  const oneOf = (of: "labels" | "annotations", key: string, words: readonly string[]): void => {
    const value = (of === "labels" ? labels : annotations).get(key);
    if (value === undefined || words.includes(value)) return;
    report.error(node, `metadata.${of}["${key}"]`, `expected ${words.join(" | ")}, found ${JSON.stringify(value)}`);
  };
  oneOf("labels", DATAPLANE_MODE_LABEL, ["ambient", "none"]);
  oneOf("labels", WAYPOINT_FOR_LABEL, ["service", "workload", "all", "none"]);
  oneOf("annotations", PLACEMENT_ANNOTATION, ["sidecar", "node", "service-account", "remote"]);
  oneOf("annotations", WITHOUT_LOCAL_ANNOTATION, ["use-another", "refuse"]);
  oneOf("annotations", REQUIRE_WAYPOINT_ANNOTATION, ["true", "false"]);
  oneOf("annotations", DRY_RUN_ANNOTATION, ["true", "false"]);
  const weights = annotations.get(WAYPOINT_WEIGHTS_ANNOTATION);
  if (weights !== undefined && parseWaypointWeights(weights) === undefined) {
    const path = `metadata.annotations["${WAYPOINT_WEIGHTS_ANNOTATION}"]`;
    report.error(node, path, `expected NAME=WEIGHT,… with some weight, found ${JSON.stringify(weights)}`);
  }
  const exportTo = annotations.get(EXPORT_TO_ANNOTATION);
  if (exportTo !== undefined && parseExportTo(exportTo, "") === undefined) {
    const path = `metadata.annotations["${EXPORT_TO_ANNOTATION}"]`;
    report.error(node, path, `expected namespaces, ., * or ~, found ${JSON.stringify(exportTo)}`);
  }
  const domain = annotations.get(TRUST_DOMAIN_ANNOTATION);
  if (domain !== undefined && isFailure(parseTrustDomain(domain))) {
    const path = `metadata.annotations["${TRUST_DOMAIN_ANNOTATION}"]`;
    report.error(node, path, `expected a trust domain, found ${JSON.stringify(domain)}`);
  }
  const port = annotations.get(HBONE_PORT_ANNOTATION);
  if (port !== undefined && !(/^[1-9]\d{0,4}$/.test(port) && Number(port) <= 65535)) {
    const path = `metadata.annotations["${HBONE_PORT_ANNOTATION}"]`;
    report.error(node, path, `expected a port, found ${JSON.stringify(port)}`);
  }
}
