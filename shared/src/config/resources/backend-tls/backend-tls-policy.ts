// Pure. gateway.networking.k8s.io BackendTLSPolicy: TLS from the waypoint to a Service. One that is not understood lets nobody
// through to its targets: it never falls back to plaintext.
import type { BackendTls, BackendTlsTarget } from "../../backend-tls.ts";
import { isDnsName } from "../../names.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import type { BackendTlsPolicyResource, CaReference, Metadata } from "../resource.ts";
import { atMost } from "../route/bounds.ts";
import { identify, requireSpec } from "../route/parents.ts";

/** Limits of Gateway API. */
const MOST = { targets: 16, references: 8, names: 5, uriCharacters: 253 } as const;

/** Reads the `spec` of a BackendTLSPolicy. */
export function parseBackendTlsPolicy(
  metadata: Metadata,
  given: Fields | undefined,
  report: Report,
): BackendTlsPolicyResource | undefined {
  const spec = requireSpec(metadata, given, report);
  if (spec === undefined) return undefined;
  const targets = [...parseTargets(spec, report)];
  const validation = spec.fields("validation");
  if (spec.get("validation") === undefined)
    report.malformed(spec.node, "spec.validation", "expected a mapping, found nothing");
  const hostname = validation?.string("hostname", "a host name", isDnsName);
  const subjectAltNames = validation === undefined ? [] : [...parseNames(validation, report)];
  const roots = validation === undefined ? [] : parseRoots(validation, report);
  validation?.end();
  spec.end();
  if (validation !== undefined && validation.get("hostname") === undefined) {
    report.malformed(validation.node, validation.at("hostname"), "expected a host name, found nothing");
  }
  const policy = {
    ...identify(metadata),
    targets,
    hostname: hostname ?? "",
    subjectAltNames,
    notUnderstood: report.reason,
  };
  return { kind: "BackendTLSPolicy", metadata, policy, roots };
}

/** The Services; another kind of target is told, and nobody's here. */
function* parseTargets(spec: Fields, report: Report): Generator<BackendTlsTarget> {
  atMost(spec, "targetRefs", MOST.targets, report);
  for (const { fields } of spec.each("targetRefs")) {
    const group = fields.string("group") ?? "";
    const kind = fields.string("kind");
    const name = fields.string("name", "a resource name", isDnsName);
    const sectionName = fields.string("sectionName", "the name of a port", isDnsName);
    fields.end();
    if (kind !== "Service" || (group !== "" && group !== "core")) {
      const text = `expected a Service, found ${group}/${kind ?? ""}`;
      report.part().notUnderstood(fields.node, fields.path, text, "TargetNotFound");
    } else if (name !== undefined) yield { name, sectionName };
    else report.malformed(fields.node, fields.at("name"), "expected the name of a Service");
  }
}

function* parseNames(validation: Fields, report: Report): Generator<BackendTls["subjectAltNames"][number]> {
  atMost(validation, "subjectAltNames", MOST.names, report);
  for (const { fields } of validation.each("subjectAltNames")) {
    const type = fields.word("type", ["Hostname", "URI"]);
    const value =
      type === "URI"
        ? fields.string("uri", "a URI with a scheme and an authority", isUri)
        : fields.string("hostname", "a host name, or *. and a host name", isHostname);
    fields.end();
    if (type !== undefined && value !== undefined) yield { type: type === "URI" ? "uri" : "hostname", value };
    else report.malformed(fields.node, fields.path, "expected a type and a name of that type");
  }
}

function parseRoots(validation: Fields, report: Report): readonly CaReference[] | "system" {
  atMost(validation, "caCertificateRefs", MOST.references, report);
  const system = validation.word("wellKnownCACertificates", ["System"]);
  const references: CaReference[] = [];
  for (const { fields } of validation.each("caCertificateRefs")) {
    const group = fields.string("group") ?? "";
    const kind = fields.string("kind");
    const name = fields.string("name", "a resource name", isDnsName);
    fields.end();
    if ((kind !== "ConfigMap" && kind !== "Secret") || (group !== "" && group !== "core")) {
      const text = `expected a ConfigMap or Secret, found ${group}/${kind ?? ""}`;
      report.notUnderstood(fields.node, fields.path, text, "InvalidKind");
    } else if (name !== undefined) references.push({ kind, name, path: fields.path });
    else report.malformed(fields.node, fields.at("name"), "expected the name of a resource");
  }
  const isNamed = validation.get("caCertificateRefs") !== undefined;
  const isSystem = validation.get("wellKnownCACertificates") !== undefined;
  if (isNamed === isSystem) {
    const text = `expected caCertificateRefs or wellKnownCACertificates, found ${isNamed ? "both" : "neither"}`;
    report.malformed(validation.node, validation.path, text);
  }
  return system === undefined ? references : "system";
}

function isHostname(text: string): boolean {
  return isDnsName(text.startsWith("*.") ? text.slice(2) : text);
}

function isUri(text: string): boolean {
  return text.length <= MOST.uriCharacters && /^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^\s/?#]+[^\s]*$/.test(text);
}
