// Pure. gateway.networking.k8s.io Gateway, as far as it is a waypoint or leads into another network.
import { parseHost } from "../../net/listen-address.ts";
import type { Placement, Waypoint, WaypointFor, WaypointShare } from "../../workload/workload.ts";
import { isDnsName } from "../names.ts";
import type { Fields } from "./fields.ts";
import {
  FOR_SERVICE_ACCOUNT_ANNOTATION,
  NETWORK_LABEL,
  parseWaypointWeights,
  PLACEMENT_ANNOTATION,
  WAYPOINT_FOR_LABEL,
  WAYPOINT_WEIGHTS_ANNOTATION,
  WITHOUT_LOCAL_ANNOTATION,
} from "./metadata.ts";
import { placeOf, type Report } from "./report.ts";
import type { GatewayResource, Metadata } from "./resource.ts";

/** Classes whose Gateways are waypoints: ours, and Istio's, whose waypoints speak the same. */
const WAYPOINT_CLASSES = new Set(["culvert-waypoint", "istio-waypoint"]);

/** Class of the gateways between networks. */
const EAST_WEST_CLASS = "istio-east-west";

const SERVES: ReadonlyMap<string, WaypointFor> = new Map(
  (["service", "workload", "all", "none"] as const).map((word) => [word, word]),
);
const PLACEMENTS: ReadonlyMap<string, Placement> = new Map(
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
  if (className === EAST_WEST_CLASS) {
    return { kind: "Gateway", metadata, waypoint: undefined, entersNetwork: parseEastWest(metadata, spec, report) };
  }
  if (className === undefined || !WAYPOINT_CLASSES.has(className)) {
    return { kind: "Gateway", metadata, waypoint: undefined, entersNetwork: undefined };
  }
  const port = tunnelPort(spec, report);
  const placed = parsePlacement(metadata, report);
  const addresses = [...readAddresses(spec, report), ...(status === undefined ? [] : readAddresses(status, report))];
  spec.ignore("infrastructure");
  spec.end();
  if (report.reason !== undefined || port === undefined) {
    return { kind: "Gateway", metadata, waypoint: undefined, entersNetwork: undefined };
  }
  const waypoint: Waypoint = {
    namespace: metadata.namespace,
    name: metadata.name,
    serves: SERVES.get(metadata.labels.get(WAYPOINT_FOR_LABEL) ?? "service") ?? "service",
    ...placed,
    port,
    addresses: [...new Set(addresses)],
    shares: sharesOf(metadata),
  };
  return { kind: "Gateway", metadata, waypoint, entersNetwork: undefined };
}

/** Where its instances stand. A value that is none has been refused with the metadata. */
function parsePlacement(
  metadata: Metadata,
  report: Report,
): Pick<Waypoint, "placement" | "forServiceAccount" | "withoutLocal"> {
  const { annotations } = metadata;
  const placement = PLACEMENTS.get(annotations.get(PLACEMENT_ANNOTATION) ?? "remote") ?? "remote";
  const without = annotations.get(WITHOUT_LOCAL_ANNOTATION);
  if (without !== undefined && placement !== "node") {
    const path = `metadata.annotations["${WITHOUT_LOCAL_ANNOTATION}"]`;
    report.notUnderstood(placeOf(metadata), path, `is for placement node, found placement ${placement}`);
  }
  const account = annotations.get(FOR_SERVICE_ACCOUNT_ANNOTATION);
  const isForAccount = placement === "service-account";
  if (isForAccount && (account === undefined || !isDnsName(account))) {
    const path = `metadata.annotations["${FOR_SERVICE_ACCOUNT_ANNOTATION}"]`;
    const text = `expected the service account that it serves, found ${JSON.stringify(account) ?? "nothing"}`;
    report.notUnderstood(placeOf(metadata), path, text);
  }
  return {
    placement,
    // With another placement it stays without effect, so that a Gateway moves by its placement alone.
    forServiceAccount: isForAccount ? account : undefined,
    withoutLocal: without === "refuse" ? "refuse" : "use-another",
  };
}

/** The network of an east-west gateway. Its instances say at which addresses and ports it is. */
function parseEastWest(metadata: Metadata, spec: Fields, report: Report): string | undefined {
  tunnelPort(spec, report);
  spec.ignore("addresses", "infrastructure");
  spec.end();
  const network = metadata.labels.get(NETWORK_LABEL) ?? "";
  if (network === "") {
    const path = `metadata.labels["${NETWORK_LABEL}"]`;
    report.notUnderstood(placeOf(metadata), path, "expected the network that the gateway leads into, found nothing");
  }
  return report.reason === undefined ? network : undefined;
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
    // Whatever a listener says of TLS, HBONE has its own.
    fields.ignore("name", "allowedRoutes", "tls");
    fields.end();
    if (protocol !== "HBONE") {
      report.notUnderstood(fields.node, fields.at("protocol"), "expected HBONE, which is what its listeners speak");
    } else if (tunnel !== undefined) {
      report.notUnderstood(fields.node, fields.path, "expected one HBONE listener, found another");
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
