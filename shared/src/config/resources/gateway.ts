// Pure. gateway.networking.k8s.io Gateway, as far as it is a waypoint.
import { parseHost } from "../../net/listen-address.ts";
import type { Waypoint, WaypointFor, WaypointShare } from "../../workload/workload.ts";
import type { Fields } from "./fields.ts";
import {
  parseWaypointWeights,
  PLACEMENT_ANNOTATION,
  WAYPOINT_FOR_LABEL,
  WAYPOINT_WEIGHTS_ANNOTATION,
} from "./metadata.ts";
import { placeOf, type Report } from "./report.ts";
import type { GatewayResource, Metadata } from "./resource.ts";

/** Classes whose Gateways are waypoints: ours, and Istio's, whose waypoints speak the same. */
const WAYPOINT_CLASSES = new Set(["culvert-waypoint", "istio-waypoint"]);

const SERVES: ReadonlyMap<string, WaypointFor> = new Map(
  (["service", "workload", "all", "none"] as const).map((word) => [word, word]),
);
const PLACEMENTS: ReadonlyMap<string, Waypoint["placement"]> = new Map(
  (["sidecar", "node", "service-account", "remote"] as const).map((word) => [word, word]),
);

/** Reads `spec` and `status.addresses` of a Gateway. Those of other classes are let be. */
export function parseGateway(
  metadata: Metadata,
  spec: Fields | undefined,
  status: Fields | undefined,
  report: Report,
): GatewayResource | undefined {
  if (spec === undefined) return report.error(placeOf(metadata), "spec", "expected a mapping, found nothing");
  const className = spec.string("gatewayClassName");
  if (spec.get("gatewayClassName") === undefined) {
    return report.error(spec.node, spec.at("gatewayClassName"), "expected a class name, found nothing");
  }
  if (className === undefined || !WAYPOINT_CLASSES.has(className)) {
    return { kind: "Gateway", metadata, waypoint: undefined };
  }
  const port = tunnelPort(spec, report);
  const addresses = [...readAddresses(spec, report), ...(status === undefined ? [] : readAddresses(status, report))];
  spec.ignore("infrastructure");
  spec.end();
  if (report.reason !== undefined || port === undefined) return { kind: "Gateway", metadata, waypoint: undefined };
  const waypoint: Waypoint = {
    namespace: metadata.namespace,
    name: metadata.name,
    serves: SERVES.get(metadata.labels.get(WAYPOINT_FOR_LABEL) ?? "service") ?? "service",
    placement: PLACEMENTS.get(metadata.annotations.get(PLACEMENT_ANNOTATION) ?? "remote") ?? "remote",
    port,
    addresses: [...new Set(addresses)],
    shares: sharesOf(metadata),
  };
  return { kind: "Gateway", metadata, waypoint };
}

/** What the annotation says, which has been checked with the metadata. */
function sharesOf({ namespace, annotations }: Metadata): WaypointShare[] {
  const weights = parseWaypointWeights(annotations.get(WAYPOINT_WEIGHTS_ANNOTATION) ?? "");
  return [...(weights ?? [])].map(([name, weight]) => ({ ref: { namespace, name }, weight }));
}

/** The port of the one HBONE listener. */
function tunnelPort(spec: Fields, report: Report): number | undefined {
  let tunnel: number | undefined;
  for (const { fields } of spec.each("listeners")) {
    const protocol = fields.string("protocol");
    const port = fields.integer("port", 1, 65535);
    fields.ignore("name", "allowedRoutes");
    fields.end();
    if (protocol !== "HBONE") {
      report.notUnderstood(fields.node, fields.at("protocol"), "a waypoint's listeners are HBONE");
    } else if (tunnel !== undefined) {
      report.notUnderstood(fields.node, fields.path, "a waypoint has one HBONE listener");
    } else {
      tunnel = port;
      if (fields.get("port") === undefined)
        report.error(fields.node, fields.at("port"), "expected a port, found nothing");
    }
  }
  if (tunnel === undefined && report.reason === undefined) {
    report.notUnderstood(spec.node, spec.at("listeners"), "expected a listener of protocol HBONE, found none");
  }
  return tunnel;
}

function* readAddresses(fields: Fields, report: Report): Generator<string> {
  for (const { fields: address } of fields.each("addresses")) {
    address.word("type", ["IPAddress", "Hostname"]);
    const value = address.string("value");
    address.end();
    const host = value === undefined ? undefined : parseHost(value);
    if (host !== undefined) yield host;
    else report.expected(address.get("value") ?? address.node, address.at("value"), "an IP address or a host name");
  }
}
