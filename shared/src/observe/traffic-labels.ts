// Pure. The labels of Istio's traffic metrics, from what is known of the two ends. What is not known says `unknown`.
import type { Workload } from "../workload/workload.ts";

/** One end of a connection or request. */
export interface TrafficEnd {
  readonly workload: Workload | undefined;
  /** SPIFFE ID with its scheme. */
  readonly principal: string | undefined;
}

/** Who reports: the client's proxy, the server's, or a waypoint. */
export type Reporter = "source" | "destination" | "waypoint";

/** Whom traffic is between. Fixed for the life of a connection, so that its labels are made once. */
export interface Traffic {
  readonly reporter: Reporter;
  readonly source: TrafficEnd;
  readonly destination: TrafficEnd;
  /** The service that was asked for. */
  readonly service: { readonly hostname: string; readonly name: string; readonly namespace: string } | undefined;
  /** `mutual_tls` when an identity was proved. */
  readonly security: "mutual_tls" | "none" | "unknown";
}

/** Value of a label of which nothing is known. */
export const UNKNOWN = "unknown";

/** Labels of `istio_tcp_*`, in ztunnel's order. */
export const TCP_LABELS = [
  "reporter",
  "source_workload",
  "source_canonical_service",
  "source_canonical_revision",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
  "destination_service",
  "destination_service_namespace",
  "destination_service_name",
  "destination_workload",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_cluster",
  "request_protocol",
  "response_flags",
  "connection_security_policy",
] as const;

/** Labels of `istio_requests_total` and its siblings, in the order of Istio's stats filter. */
export const REQUEST_LABELS = [
  "reporter",
  "source_workload",
  "source_canonical_service",
  "source_canonical_revision",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
  "destination_workload",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_service",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_service_name",
  "destination_service_namespace",
  "destination_cluster",
  "request_protocol",
  "response_code",
  "grpc_response_status",
  "response_flags",
  "connection_security_policy",
] as const;

type LabelName = (typeof TCP_LABELS)[number] | (typeof REQUEST_LABELS)[number];

/** Label values of one connection. `flags` is the Istio response flag, `-` for none. */
export function tcpLabelValues(traffic: Traffic, flags: string): readonly string[] {
  return valuesOf(
    TCP_LABELS,
    traffic,
    new Map<LabelName, string>([
      ["request_protocol", "tcp"],
      ["response_flags", flags],
    ]),
  );
}

/** What of a request its labels depend on. */
export interface RequestOutcome {
  readonly protocol: "http" | "grpc";
  /** 0 when no response was begun. */
  readonly code: number;
  /** `undefined` for what is not gRPC. */
  readonly grpcStatus: number | undefined;
  readonly flags: string;
}

/** Label values of requests that end alike. */
export function requestLabelValues(traffic: Traffic, outcome: RequestOutcome): readonly string[] {
  return valuesOf(
    REQUEST_LABELS,
    traffic,
    new Map<LabelName, string>([
      ["request_protocol", outcome.protocol],
      ["response_code", String(outcome.code)],
      ["grpc_response_status", outcome.grpcStatus === undefined ? "" : String(outcome.grpcStatus)],
      ["response_flags", outcome.flags],
    ]),
  );
}

function valuesOf(names: readonly LabelName[], traffic: Traffic, known: Map<LabelName, string>): readonly string[] {
  known.set("reporter", traffic.reporter);
  known.set("connection_security_policy", traffic.security);
  endLabels("source", traffic.source, known);
  endLabels("destination", traffic.destination, known);
  if (traffic.service !== undefined) {
    known.set("destination_service", traffic.service.hostname);
    known.set("destination_service_name", traffic.service.name);
    known.set("destination_service_namespace", traffic.service.namespace);
  }
  return names.map((name) => known.get(name) ?? UNKNOWN);
}

function endLabels(
  end: "source" | "destination",
  { workload, principal }: TrafficEnd,
  known: Map<LabelName, string>,
): void {
  if (principal !== undefined) known.set(`${end}_principal`, principal);
  if (workload === undefined) return;
  const { labels } = workload;
  const app = labels.get("app");
  const version = labels.get("version");
  const { service, revision } = canonicalOf(workload);
  known.set(`${end}_workload`, workload.name);
  known.set(`${end}_workload_namespace`, workload.namespace);
  known.set(`${end}_canonical_service`, service);
  known.set(`${end}_canonical_revision`, revision);
  if (app !== undefined) known.set(`${end}_app`, app);
  if (version !== undefined) known.set(`${end}_version`, version);
}

/** The service and revision that Istio counts a workload to. */
export function canonicalOf(workload: Workload | undefined): { readonly service: string; readonly revision: string } {
  if (workload === undefined) return { service: UNKNOWN, revision: UNKNOWN };
  const { labels, name } = workload;
  const label = (...keys: readonly string[]): string | undefined =>
    keys.map((key) => labels.get(key)).find((value) => value !== undefined);
  return {
    service: label("service.istio.io/canonical-name", "app.kubernetes.io/name", "app") ?? name,
    revision: label("service.istio.io/canonical-revision", "app.kubernetes.io/version", "version") ?? "latest",
  };
}
