// Pure. The Service port, or port of a host, that something is sent to. A reference that can never be served says why.
import type { BackendRef } from "../../http-route.ts";
import { isDnsLabel, isDnsName } from "../../names.ts";
import type { ConditionReason } from "../../snapshot.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import type { Metadata } from "../resource.ts";

/** A reference, whose other fields were asked for before. */
export function parseBackendRef(metadata: Metadata, fields: Fields, report: Report): BackendRef {
  const group = fields.string("group") ?? "";
  const kind = fields.string("kind") ?? "Service";
  const name = fields.string("name", "a resource name", isDnsName);
  const namespace = fields.string("namespace", "a namespace", isDnsLabel) ?? metadata.namespace;
  const port = fields.integer("port", 1, 65535);
  fields.end();
  const isHost = kind === "Hostname" && group === "networking.istio.io";
  const what = isHost ? "host" : "Service";
  let invalid: string | undefined;
  let reason: ConditionReason = "BackendNotFound";
  if (!isHost && (kind !== "Service" || (group !== "" && group !== "core"))) {
    invalid = `expected a Service, or a Hostname of networking.istio.io, found ${group}/${kind}`;
    reason = "InvalidKind";
  } else if (name === undefined) invalid = `expected the name of a ${what}`;
  else if (port === undefined) invalid = `expected a port of the ${what}`;
  // The problem is the operator's to see; the rule itself is understood.
  if (invalid !== undefined) report.part().notUnderstood(fields.node, fields.path, invalid, reason);
  return { kind: isHost ? "host" : "service", namespace, name: name ?? "", port: port ?? 0, invalid };
}
