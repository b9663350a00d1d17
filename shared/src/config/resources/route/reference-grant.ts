// Pure. gateway.networking.k8s.io ReferenceGrant. Routes of a mesh need none for their backends (GEP-1294), and certificates are
// named in their own namespace, so it is read to tell mistakes, and permits nothing that would be refused without it.
import { isDnsLabel, isDnsName } from "../../names.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import type { Metadata, ReferenceGrantResource } from "../resource.ts";
import { atMost } from "./bounds.ts";
import { requireSpec } from "./parents.ts";

/** Of each list (Gateway API). */
const MOST_ENTRIES = 16;

/** Reads the `spec` of a ReferenceGrant. */
export function parseReferenceGrant(
  metadata: Metadata,
  given: Fields | undefined,
  report: Report,
): ReferenceGrantResource | undefined {
  const spec = requireSpec(metadata, given, report);
  if (spec === undefined) return undefined;
  for (const list of ["from", "to"]) {
    atMost(spec, list, MOST_ENTRIES, report);
    for (const { fields } of spec.each(list)) {
      fields.string("group");
      fields.string("kind");
      if (list === "from") fields.string("namespace", "a namespace", isDnsLabel);
      else fields.string("name", "a resource name", isDnsName);
      fields.end();
      if (fields.get("kind") === undefined)
        report.malformed(fields.node, fields.at("kind"), "expected a kind, found nothing");
    }
  }
  spec.end();
  return { kind: "ReferenceGrant", metadata };
}
