// Pure. gateway.networking.k8s.io TCPRoute and TLSRoute: where connections go that are passed through. One that is not understood
// lets no connection through, because any one might be meant.
import type { StreamRouteRule } from "../../stream-route.ts";
import type { Fields } from "../fields.ts";
import type { Report } from "../report.ts";
import type { Metadata, StreamRouteResource } from "../resource.ts";
import { parseStreamBackends } from "./backends.ts";
import { atMost, ROUTE_LIMITS } from "./bounds.ts";
import { identify, parseHostnames, parseParents, parseRuleName, requireSpec } from "./parents.ts";

/** Reads the `spec` of a TCPRoute or TLSRoute. */
export function parseStreamRoute<Kind extends "TCPRoute" | "TLSRoute">(
  kind: Kind,
  metadata: Metadata,
  given: Fields | undefined,
  report: Report,
): (StreamRouteResource & { readonly kind: Kind }) | undefined {
  const spec = requireSpec(metadata, given, report);
  if (spec === undefined) return undefined;
  const { parents, gateways } = parseParents(metadata, spec, report);
  // A TCPRoute has no such field, which is then told like any other.
  const hostnames = kind === "TLSRoute" ? [...parseHostnames(spec, report)] : [];
  atMost(spec, "rules", ROUTE_LIMITS.rules, report);
  const names = new Set<string>();
  const rules: StreamRouteRule[] = [];
  for (const { fields } of spec.each("rules")) {
    const name = parseRuleName(fields, names, report);
    const backends = parseStreamBackends(metadata, fields, report);
    fields.end();
    rules.push({ name, backends });
  }
  spec.end();
  const id = identify(metadata);
  return { kind, metadata, gateways, route: { kind, ...id, parents, hostnames, rules, notUnderstood: report.reason } };
}
