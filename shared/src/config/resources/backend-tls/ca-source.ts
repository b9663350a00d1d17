// Pure. core/v1 ConfigMap and Secret, of which `ca.crt` alone is read. What else stands in them is not kept, and no problem quotes
// any of it.
import { certificatesFromPem } from "../../../identity/pem.ts";
import { isFailure } from "../../../failure/failure.ts";
import type { MapNode, Node } from "../../tree.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import type { CaSourceResource, Metadata } from "../resource.ts";

/** The key that Kubernetes keeps the certificates of an authority under. */
export const CA_KEY = "ca.crt";
/** Base64 with its padding, over lines or not. */
const BASE64 = /^(?:[A-Za-z0-9+/]|\s)*={0,2}\s*$/;

/** Reads a ConfigMap, whose values are texts. */
export function parseConfigMap(
  metadata: Metadata,
  document: Fields,
  report: Report,
): CaSourceResource & { kind: "ConfigMap" } {
  const text = valueOf(document, "data", report);
  return { kind: "ConfigMap", metadata, roots: text === undefined ? undefined : rootsIn(text, document, report) };
}

/** Reads a Secret, whose values are base64, or texts beside it. */
export function parseSecret(
  metadata: Metadata,
  document: Fields,
  report: Report,
): CaSourceResource & { kind: "Secret" } {
  const plain = valueOf(document, "stringData", report);
  const encoded = valueOf(document, "data", report);
  let text = plain;
  if (text === undefined && encoded !== undefined) {
    if (BASE64.test(encoded)) text = Buffer.from(encoded, "base64").toString();
    else report.malformed(document.node, `data["${CA_KEY}"]`, "expected base64");
  }
  return { kind: "Secret", metadata, roots: text === undefined ? undefined : rootsIn(text, document, report) };
}

function valueOf(document: Fields, name: string, report: Report): string | undefined {
  const node = document.get(name);
  if (node === undefined) return undefined;
  if (node.kind !== "map") return report.malformed(at(document, node), name, "expected a mapping");
  const value = node.entries.get(CA_KEY)?.value;
  if (value === undefined) return undefined;
  if (value.kind === "scalar" && typeof value.value === "string") return value.value;
  return report.malformed(at(document, value), `${name}["${CA_KEY}"]`, "expected a text");
}

function rootsIn(text: string, document: Fields, report: Report): readonly string[] {
  const certificates = certificatesFromPem(text, CA_KEY);
  if (!isFailure(certificates)) return certificates.map((certificate) => certificate.toString());
  report.malformed(document.node, `data["${CA_KEY}"]`, `expected certificates in PEM: ${certificates.detail}`);
  return [];
}

/** The place of a node without its content. */
function at(document: Fields, { source, line }: Node): MapNode {
  return { ...document.node, source, line };
}
