// Pure. One document to one resource: its kind, its metadata, its spec.
import { nearest } from "../near-miss.ts";
import type { Problem } from "../snapshot.ts";
import { found, type MapNode, type Node } from "../tree.ts";
import { parseAuthorizationPolicy } from "./authorization-policy.ts";
import { Fields } from "./fields.ts";
import { parseGateway } from "./gateway.ts";
import type { KindReader, Kinds } from "./kind-reader.ts";
import { parseMetadata } from "./metadata.ts";
import { parsePeerAuthentication } from "./peer-authentication.ts";
import { Report } from "./report.ts";
import type { ParsedResources, Resource } from "./resource.ts";
import { parseServiceEntry } from "./service-entry.ts";
import { parseService } from "./service.ts";
import { parseWorkloadEntry } from "./workload-entry.ts";

const ISTIO_SECURITY = { group: "security.istio.io", versions: ["v1", "v1beta1"] };
const GATEWAY_API = { group: "gateway.networking.k8s.io", versions: ["v1", "v1beta1"] };

/** Kinds that both programs read. */
const KINDS: Kinds = new Map<string, KindReader>([
  [
    "Namespace",
    {
      group: "",
      versions: ["v1"],
      malformed: "error",
      read(metadata, document) {
        const spec = document.fields("spec");
        spec?.ignore("finalizers");
        spec?.end("error");
        return { kind: "Namespace", metadata };
      },
    },
  ],
  [
    "Service",
    {
      group: "",
      versions: ["v1"],
      malformed: "error",
      read: (metadata, document, report) => parseService(metadata, document.fields("spec"), report),
    },
  ],
  [
    "WorkloadEntry",
    {
      group: "networking.istio.io",
      versions: ["v1", "v1beta1", "v1alpha3"],
      malformed: "error",
      read: (metadata, document, report) => parseWorkloadEntry(metadata, document.fields("spec"), report),
    },
  ],
  [
    "ServiceEntry",
    {
      group: "networking.istio.io",
      versions: ["v1", "v1beta1", "v1alpha3"],
      malformed: "error",
      read: (metadata, document, report) => parseServiceEntry(metadata, document.fields("spec"), report),
    },
  ],
  [
    "Gateway",
    {
      ...GATEWAY_API,
      malformed: "error",
      read: (metadata, document, report) =>
        parseGateway(metadata, document.fields("spec"), document.fields("status"), report),
    },
  ],
  [
    "AuthorizationPolicy",
    {
      ...ISTIO_SECURITY,
      malformed: "not-understood",
      read: (metadata, document, report) => parseAuthorizationPolicy(metadata, document.fields("spec"), report),
    },
  ],
  [
    "PeerAuthentication",
    {
      ...ISTIO_SECURITY,
      malformed: "not-understood",
      read: (metadata, document, report) => parsePeerAuthentication(metadata, document.fields("spec"), report),
    },
  ],
]);

/** Kinds, with their group, that only waypoints read. */
const OF_WAYPOINTS: ReadonlyMap<string, string> = new Map([
  ["HTTPRoute", GATEWAY_API.group],
  ["GRPCRoute", GATEWAY_API.group],
  ["TCPRoute", GATEWAY_API.group],
  ["TLSRoute", GATEWAY_API.group],
  ["BackendTLSPolicy", GATEWAY_API.group],
  ["ReferenceGrant", GATEWAY_API.group],
  ["ConfigMap", ""],
  ["Secret", ""],
  ["HTTPFilter", "culvert.dev"],
]);

/**
 * Reads a document; a `List`, as kubectl writes it, holds several.
 *
 * @param more kinds that only waypoints read; without them their resources are passed over
 */
export function parseResource(document: Node, more?: Kinds): ParsedResources {
  if (
    document.kind === "map" &&
    scalarText(document, "kind") === "List" &&
    scalarText(document, "apiVersion") === "v1"
  ) {
    const items = document.entries.get("items")?.value;
    if (items?.kind === "list") {
      const parsed = items.items.map((item) => parseOne(item, more));
      return {
        resources: parsed.flatMap(({ resources }) => resources),
        problems: parsed.flatMap(({ problems }) => problems),
      };
    }
  }
  return parseOne(document, more);
}

function parseOne(document: Node, more: Kinds | undefined): ParsedResources {
  const problems: Problem[] = [];
  const resource = document.kind === "map" ? read(document, more, problems) : undefined;
  if (document.kind !== "map") {
    new Report("", "error", problems).error(document, "", `expected a resource, found ${found(document)}`);
  }
  return { resources: resource === undefined ? [] : [resource], problems };
}

function read(document: MapNode, more: Kinds | undefined, problems: Problem[]): Resource | undefined {
  const kind = scalarText(document, "kind");
  const apiVersion = scalarText(document, "apiVersion");
  const title = titleOf(document, kind);
  const strict = new Report(title, "error", problems);
  if (kind === undefined || kind === "") return strict.error(document, "kind", "expected the kind of a resource");
  if (apiVersion === undefined) return strict.error(document, "apiVersion", "expected the apiVersion of a resource");

  const slash = apiVersion.lastIndexOf("/");
  const group = slash < 0 ? "" : apiVersion.slice(0, slash);
  if (more === undefined && OF_WAYPOINTS.get(kind) === group) return undefined;
  const reader = KINDS.get(kind) ?? more?.get(kind);
  if (reader === undefined || reader.group !== group) {
    const known = KINDS.has(kind) || OF_WAYPOINTS.has(kind);
    const guess = known ? undefined : nearest(kind, [...KINDS.keys(), ...OF_WAYPOINTS.keys()]);
    const hint = guess === undefined ? "" : `; did you mean ${guess}?`;
    return strict.notUnderstood(document, "kind", `${apiVersion} ${kind} is not supported${hint}`);
  }
  const fields = new Fields(document, "", strict);
  const metadata = parseMetadata(kind, document, fields.get("metadata"), strict);
  fields.ignore("apiVersion", "kind", ...(reader.fields ?? ["spec", "status"]));
  fields.end("error");
  if (metadata === undefined || problems.some(({ severity }) => severity === "error")) return undefined;

  const report = new Report(title, reader.malformed, problems);
  if (!reader.versions.includes(apiVersion.slice(slash + 1))) {
    report.notUnderstood(document, "apiVersion", `expected ${reader.versions.join(" or ")}, found ${apiVersion}`);
  }
  return reader.read(metadata, new Fields(document, "", report), report);
}

/** `Kind namespace/name`, as far as it can be read. */
function titleOf(document: MapNode, kind: string | undefined): string {
  const metadata = document.entries.get("metadata")?.value;
  const name = metadata?.kind === "map" ? scalarText(metadata, "name") : undefined;
  const namespace = metadata?.kind === "map" ? scalarText(metadata, "namespace") : undefined;
  const isNamed = kind !== "Namespace" && name !== undefined;
  return `${kind ?? "?"} ${isNamed ? `${namespace ?? "default"}/${name}` : (name ?? "?")}`.slice(0, 256);
}

function scalarText(map: MapNode, name: string): string | undefined {
  const node = map.entries.get(name)?.value;
  return node?.kind === "scalar" && typeof node.value === "string" ? node.value : undefined;
}
