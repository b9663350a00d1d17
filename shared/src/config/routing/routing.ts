// Pure. What only a waypoint reads of a mesh: routes, and what they refer to. uproxy carries bytes and never loads this.
import type { Directory } from "../../workload/directory.ts";
import type { HttpRoute } from "../http-route.ts";
import { parseBackendTlsPolicy } from "../resources/backend-tls-policy.ts";
import { parseConfigMap, parseSecret } from "../resources/ca-source.ts";
import type { Fields } from "../resources/fields.ts";
import type { KindReader, Kinds } from "../resources/kind-reader.ts";
import { parseReferenceGrant } from "../resources/reference-grant.ts";
import type { Report } from "../resources/report.ts";
import type { Metadata, Resource } from "../resources/resource.ts";
import { parseGrpcRoute } from "../resources/route/grpc-route.ts";
import { parseHttpFilter } from "../resources/route/http-filter.ts";
import { parseHttpRoute } from "../resources/route/http-route.ts";
import { parseStreamRoute } from "../resources/route/stream-route.ts";
import type { Problem, Snapshot } from "../snapshot.ts";
import { joinBackendTls } from "./join-backend-tls.ts";
import { joinHttpRoutes } from "./join-http-routes.ts";
import { joinStreamRoutes } from "./join-stream-routes.ts";

/** The part of a snapshot that is about routes, with its problems. */
export interface RoutingParts extends Pick<Snapshot, "streamRoutes" | "backendTls"> {
  readonly routes: readonly HttpRoute[];
  readonly problems: readonly Problem[];
}

/** A way to read them. */
export interface Routing {
  readonly kinds: Kinds;
  readonly join: (resources: readonly Resource[], directory: Directory) => RoutingParts;
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
  join: (resources, directory) => {
    const http = joinHttpRoutes(resources, directory);
    const streams = joinStreamRoutes(resources, directory);
    const tls = joinBackendTls(resources, directory);
    return {
      routes: http.routes,
      streamRoutes: streams.routes,
      backendTls: tls.policies,
      problems: [...http.problems, ...streams.problems, ...tls.problems],
    };
  },
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
