// Pure. What only a waypoint reads of a mesh: routes, and what they refer to. uproxy carries bytes and never loads this.
import type { Directory } from "../../workload/directory.ts";
import type { Json } from "../json.ts";
import { parseBackendTlsPolicy } from "../resources/backend-tls/backend-tls-policy.ts";
import { parseConfigMap, parseSecret } from "../resources/backend-tls/ca-source.ts";
import type { Fields } from "../resources/fields.ts";
import type { KindReader, Kinds } from "../resources/kind-reader.ts";
import { parseReferenceGrant } from "../resources/route/reference-grant.ts";
import type { Report } from "../resources/report.ts";
import type { Metadata, ParsedResources, Resource } from "../resources/resource.ts";
import { parseGrpcRoute } from "../resources/route/grpc-route.ts";
import { parseHttpFilter } from "../resources/route/http-filter.ts";
import { parseHttpRoute } from "../resources/route/http-route.ts";
import { parseStreamRoute } from "../resources/route/stream-route.ts";
import type { Snapshot } from "../snapshot.ts";
import { statusLines, statusObject } from "../status/status-object.ts";
import { dumpRouting } from "./dump-routes.ts";
import { joinRouting, type RoutingParts } from "./join.ts";

/** A way to read them, and to tell of them. */
export interface Routing {
  readonly kinds: Kinds;
  readonly join: (parsed: ParsedResources, directory: Directory) => RoutingParts;
  readonly dump: (snapshot: Snapshot) => { readonly [key: string]: Json };
  /** A line for each route and parent. */
  readonly statusLines: (snapshot: Snapshot) => readonly string[];
  /** Each resource with its `.status`; `now` in RFC 3339. */
  readonly statusObjects: (snapshot: Snapshot, now: string) => readonly object[];
}

const GATEWAY_API = "gateway.networking.k8s.io";

/** All of it. */
export const routing: Routing = {
  kinds: new Map<string, KindReader>([
    ["HTTPRoute", kind(GATEWAY_API, ["v1", "v1beta1"], parseHttpRoute)],
    ["GRPCRoute", kind(GATEWAY_API, ["v1", "v1alpha2"], parseGrpcRoute)],
    ["TCPRoute", kind(GATEWAY_API, ["v1", "v1alpha2"], (...of) => parseStreamRoute("TCPRoute", ...of))],
    ["TLSRoute", kind(GATEWAY_API, ["v1", "v1alpha3", "v1alpha2"], (...of) => parseStreamRoute("TLSRoute", ...of))],
    ["BackendTLSPolicy", kind(GATEWAY_API, ["v1", "v1alpha3"], parseBackendTlsPolicy)],
    ["ReferenceGrant", kind(GATEWAY_API, ["v1", "v1beta1"], parseReferenceGrant)],
    ["ConfigMap", content(["data", "binaryData", "immutable"], parseConfigMap)],
    ["Secret", content(["data", "stringData", "type", "immutable"], parseSecret)],
    ["HTTPFilter", kind("culvert.dev", ["v1alpha1"], parseHttpFilter)],
  ]),
  join: joinRouting,
  dump: dumpRouting,
  statusLines: ({ statuses }) => statuses.flatMap(statusLines),
  statusObjects: ({ statuses }, now) =>
    statuses.map((status) => ({
      kind: status.kind,
      namespace: status.namespace,
      name: status.name,
      status: statusObject(status, now),
    })),
};

/** A kind whose resources fail closed by themselves. */
function kind(
  group: string,
  versions: readonly string[],
  parse: (metadata: Metadata, spec: Fields | undefined, report: Report) => Resource | undefined,
): KindReader {
  const read: KindReader["read"] = (metadata, document, report) => parse(metadata, document.fields("spec"), report);
  return { group, versions, malformed: "not-understood", read };
}

/** A kind of the core of Kubernetes that has no `spec`. */
function content(fields: readonly string[], read: KindReader["read"]): KindReader {
  return { group: "", versions: ["v1"], malformed: "not-understood", fields, read };
}
