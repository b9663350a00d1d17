// Pure. core/v1 Service: names, cluster IPs, TCP ports and the selector.
import { parseIp, type Ip } from "../../net/ip.ts";
import type { Preference } from "../../workload/locality.ts";
import type { AppProtocol, ServicePort } from "../../workload/workload.ts";
import { isPortName } from "../names.ts";
import type { Fields } from "./fields.ts";
import { EXPORT_TO_ANNOTATION, parseExportTo } from "./metadata.ts";
import { placeOf, type Report } from "./report.ts";
import type { Metadata, ServiceResource } from "./resource.ts";

/** Fields that say how Kubernetes brings traffic in from outside, or which a folder of files has no use for. */
const WITHOUT_MEANING_HERE = ["ipFamilies", "ipFamilyPolicy", "publishNotReadyAddresses"].concat(
  ["allocateLoadBalancerNodePorts", "externalTrafficPolicy", "healthCheckNodePort", "loadBalancerClass"],
  ["loadBalancerIP", "loadBalancerSourceRanges", "sessionAffinityConfig"],
);

/** What `trafficDistribution` asks for; the first is the older name of the second. */
const PREFERENCES: ReadonlyMap<string, Preference> = new Map([
  ["PreferClose", "same-zone"],
  ["PreferSameZone", "same-zone"],
  ["PreferSameNode", "same-node"],
]);

/** Protocols by the name that `appProtocol` has, or a port's name begins with (Istio, "Protocol Selection"). */
const PROTOCOLS: ReadonlyMap<string, AppProtocol> = new Map([
  ["http", "http"],
  ["http2", "http2"],
  ["grpc", "grpc"],
  ["tcp", "tcp"],
  ["tls", "tls"],
  ["https", "tls"],
  ["mongo", "tcp"],
  ["mysql", "tcp"],
  ["redis", "tcp"],
]);

/** Names of Kubernetes that only `appProtocol` may have. */
const APP_PROTOCOLS: ReadonlyMap<string, AppProtocol> = new Map([
  ["kubernetes.io/h2c", "http2"],
  ["kubernetes.io/ws", "http"],
  ["kubernetes.io/wss", "tls"],
]);

/** Reads the `spec` of a Service. */
export function parseService(
  metadata: Metadata,
  spec: Fields | undefined,
  report: Report,
): ServiceResource | undefined {
  if (spec === undefined) return report.error(placeOf(metadata), "spec", "expected a mapping, found nothing");
  const selector = spec.strings("selector");
  const headless = spec.string("clusterIP") === "None";
  const vips = clusterIps(spec, report);
  const ports = servicePorts(spec, report);
  const distribution = spec.word("trafficDistribution", [...PREFERENCES.keys()]);
  const type = spec.word("type", ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]);
  if (type === "ExternalName") report.notUnderstood(spec.node, spec.at("type"), "ExternalName is not supported");
  spec.ignore(...WITHOUT_MEANING_HERE);
  onlyValue(spec, "sessionAffinity", "None", report);
  onlyValue(spec, "internalTrafficPolicy", "Cluster", report);
  if (type === "ExternalName") spec.ignore("externalName");
  spec.end();
  const selects = selector !== undefined && selector.size > 0;
  const isUnderstood = report.reason === undefined;
  return {
    kind: "Service",
    metadata,
    vips,
    headless,
    ports,
    selector: selects ? selector : undefined,
    exportedTo: exportedTo(metadata),
    prefers: distribution === undefined ? undefined : PREFERENCES.get(distribution),
    isUnderstood,
    isAlias: type === "ExternalName",
  };
}

/** What is spoken on a port: `appProtocol`, else the port's name up to its first hyphen. */
export function appProtocolOf(appProtocol: string | undefined, portName: string): AppProtocol {
  const name = (appProtocol ?? portName).toLowerCase();
  const known = appProtocol === undefined ? undefined : APP_PROTOCOLS.get(name);
  // It would otherwise pass for "grpc" with a suffix.
  if (name === "grpc-web" || name.startsWith("grpc-web-")) return "grpc-web";
  return known ?? PROTOCOLS.get(name.split("-", 1)[0] ?? "") ?? "unspecified";
}

function exportedTo({ namespace, annotations }: Metadata): ReadonlySet<string> | undefined {
  const text = annotations.get(EXPORT_TO_ANNOTATION);
  const namespaces = text === undefined ? "all" : parseExportTo(text, namespace);
  return namespaces === "all" ? undefined : namespaces;
}

function clusterIps(spec: Fields, report: Report): readonly Ip[] {
  const vips: Set<Ip> = new Set();
  const add = (text: string | undefined, path: string): void => {
    if (text === undefined || text === "None" || text === "") return;
    const ip = parseIp(text);
    if (ip === undefined)
      report.error(spec.node, path, `expected an IP address or None, found ${JSON.stringify(text)}`);
    else vips.add(ip);
  };
  add(spec.string("clusterIP"), spec.at("clusterIP"));
  for (const { node, path } of spec.list("clusterIPs") ?? []) {
    if (node.kind === "scalar" && typeof node.value === "string") add(node.value, path);
    else report.expected(node, path, "an IP address or None");
  }
  return [...vips];
}

function servicePorts(spec: Fields, report: Report): ServicePort[] {
  const ports: ServicePort[] = [];
  const items = [...spec.each("ports")];
  for (const { fields } of items) {
    const name = fields.string("name", "a port name", isPortName) ?? "";
    const port = fields.integer("port", 1, 65535);
    const targetPort = target(fields, report) ?? port;
    const appProtocol = fields.string("appProtocol");
    const protocol = fields.word("protocol", ["TCP", "UDP", "SCTP"]) ?? "TCP";
    fields.ignore("nodePort");
    fields.end();
    if (fields.get("port") === undefined)
      report.error(fields.node, fields.at("port"), "expected a port, found nothing");
    if (name === "" && items.length > 1 && fields.get("name") === undefined) {
      report.error(fields.node, fields.at("name"), "expected a name, because there are several ports");
    }
    // The mesh carries TCP: a UDP or SCTP port is none of its business.
    if (protocol !== "TCP" || port === undefined || targetPort === undefined) continue;
    const twin = ports.find((other) => other.port === port || (name !== "" && other.name === name));
    if (twin !== undefined) report.error(fields.node, fields.path, `port ${twin.port} (${twin.name}) is there already`);
    else ports.push({ name, port, targetPort, appProtocol: appProtocolOf(appProtocol, name) });
  }
  return ports;
}

/** `targetPort`: a number, or the name of a port of the workload. */
function target(fields: Fields, report: Report): number | string | undefined {
  const node = fields.get("targetPort");
  if (node === undefined) return undefined;
  const value = node.kind === "scalar" ? node.value : undefined;
  if (typeof value === "number" && Number.isInteger(value) && value > 0 && value <= 65535) return value;
  if (typeof value === "string" && isPortName(value)) return value;
  return report.expected(node, fields.at("targetPort"), "a port number or name");
}

function onlyValue(spec: Fields, name: string, value: string, report: Report): void {
  const found = spec.string(name);
  if (found !== undefined && found !== value) {
    report.notUnderstood(spec.get(name) ?? spec.node, spec.at(name), `only ${value} is supported`);
  }
}
