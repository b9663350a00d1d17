// Pure. networking.istio.io ServiceEntry: hosts and addresses that may be reached outside the mesh, or that no Service
// names inside it.
import { parseCidr, parseIp, type Cidr, type Ip } from "../../net/ip.ts";
import type { ServiceEntry, ServicePort } from "../../workload/workload.ts";
import { isDnsLabel, isDnsName, isLabelKey, isLabelValue, isPortName } from "../names.ts";
import type { Fields } from "./fields.ts";
import { placeOf, type Report } from "./report.ts";
import type { EndpointPlace, Metadata, ServiceEntryResource } from "./resource.ts";
import { appProtocolOf } from "./service.ts";
import { parsePlace } from "./workload-entry.ts";

/** Istio's resolutions that mean one here: all addresses of a name are endpoints, whichever of the two is asked for. */
const RESOLUTIONS: Readonly<Record<"NONE" | "STATIC" | "DNS" | "DNS_ROUND_ROBIN", ServiceEntry["resolution"]>> = {
  NONE: "none",
  STATIC: "static",
  DNS: "dns",
  DNS_ROUND_ROBIN: "dns",
};
const PROTOCOLS = ["HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "MONGO", "MYSQL", "REDIS", "TCP", "TLS", "UDP"];

/** Reads the `spec` of a ServiceEntry. */
export function parseServiceEntry(
  metadata: Metadata,
  spec: Fields | undefined,
  report: Report,
): ServiceEntryResource | undefined {
  if (spec === undefined) return report.error(placeOf(metadata), "spec", "expected a mapping, found nothing");
  const hosts = parseHosts(spec, report);
  const { vips, cidrs } = parseAddresses(spec, report);
  const ports = parsePorts(spec, report);
  const location = spec.word("location", ["MESH_EXTERNAL", "MESH_INTERNAL"]) ?? "MESH_EXTERNAL";
  const resolution =
    RESOLUTIONS[spec.word("resolution", Object.keys(RESOLUTIONS) as (keyof typeof RESOLUTIONS)[]) ?? "NONE"];
  const endpoints: EndpointPlace[] = [];
  for (const { fields } of spec.each("endpoints")) {
    const place = parsePlace(fields, report);
    if (place !== undefined) endpoints.push(place);
  }
  const selector = parseWorkloadSelector(spec, report);
  const exportedTo = parseExportTo(metadata, spec, report);
  spec.end();
  checkResolution(spec, { hosts, resolution, endpoints, selector }, report);
  return {
    kind: "ServiceEntry",
    metadata,
    hosts,
    vips,
    cidrs,
    ports,
    location: location === "MESH_EXTERNAL" ? "external" : "internal",
    resolution,
    endpoints,
    selector,
    exportedTo,
    notUnderstood: report.reason,
  };
}

/** Where the connections to one of an entry's hosts go, unless a selector finds workloads. */
export function placesOf({ resolution, endpoints }: ServiceEntryResource, host: string): readonly EndpointPlace[] {
  if (resolution !== "dns" || endpoints.length > 0) return endpoints;
  const address = { kind: "name", host } as const;
  const rest = { ports: new Map(), weight: 1, labels: new Map(), locality: undefined, network: undefined };
  return [{ address, serviceAccount: "default", ...rest }];
}

function parseHosts(spec: Fields, report: Report): readonly string[] {
  const hosts = new Set<string>();
  for (const { node, path } of spec.list("hosts") ?? []) {
    const host = node.kind === "scalar" && typeof node.value === "string" ? node.value.toLowerCase() : "";
    const name = host.startsWith("*.") ? host.slice(2) : host;
    if (!isDnsName(name)) report.expected(node, path, "a DNS name, or *. and a DNS name");
    // One label is how a Service is called, and `*.` and one label is a whole top-level domain.
    else if (!name.includes(".")) report.notUnderstood(node, path, "a host without a dot is not supported");
    else hosts.add(host);
  }
  if (spec.get("hosts") === undefined) report.error(spec.node, spec.at("hosts"), "expected hosts, found nothing");
  return [...hosts];
}

function parseAddresses(
  spec: Fields,
  report: Report,
): { readonly vips: readonly Ip[]; readonly cidrs: readonly Cidr[] } {
  const vips = new Set<Ip>();
  const cidrs = new Map<string, Cidr>();
  for (const { node, path } of spec.list("addresses") ?? []) {
    const text = node.kind === "scalar" && typeof node.value === "string" ? node.value : "";
    const block = parseCidr(text);
    const whole = block === undefined ? undefined : parseIp(block.text.split("/", 1)[0] ?? "");
    if (block === undefined || whole === undefined) report.expected(node, path, "an IP address or a block of them");
    else if (block.bits === (block.family === 4 ? 32 : 128)) vips.add(whole);
    else cidrs.set(block.text, block);
  }
  return { vips: [...vips], cidrs: [...cidrs.values()] };
}

function parsePorts(spec: Fields, report: Report): readonly ServicePort[] {
  const ports: ServicePort[] = [];
  for (const { fields } of spec.each("ports")) {
    const port = fields.integer("number", 1, 65535);
    const name = fields.string("name", "a port name", isPortName);
    const protocol = fields.string("protocol", PROTOCOLS.join(" | "), (text) => PROTOCOLS.includes(text.toUpperCase()));
    const targetPort = fields.integer("targetPort", 1, 65535) ?? port;
    fields.end();
    for (const needed of ["number", "name"]) {
      if (fields.get(needed) === undefined) {
        report.error(fields.node, fields.at(needed), `expected the ${needed} of a port, found nothing`);
      }
    }
    // The mesh carries TCP.
    if (port === undefined || name === undefined || targetPort === undefined || protocol?.toUpperCase() === "UDP")
      continue;
    const twin = ports.find((other) => other.port === port || other.name === name);
    if (twin !== undefined) report.error(fields.node, fields.path, `port ${twin.port} (${twin.name}) is there already`);
    else ports.push({ name, port, targetPort, appProtocol: appProtocolOf(protocol?.toLowerCase(), name) });
  }
  return ports;
}

function parseWorkloadSelector(spec: Fields, report: Report): ReadonlyMap<string, string> | undefined {
  const selector = spec.fields("workloadSelector");
  if (selector === undefined) return undefined;
  const labels = selector.strings("labels");
  for (const [key, value] of labels ?? []) {
    if (isLabelKey(key) && isLabelValue(value)) continue;
    report.malformed(selector.node, selector.at("labels"), `expected a label, found ${JSON.stringify(key)}`);
  }
  selector.end();
  return labels !== undefined && labels.size > 0 ? labels : undefined;
}

/** Namespaces by name, `.` for its own, `*` for all, `~` for none. */
function parseExportTo(metadata: Metadata, spec: Fields, report: Report): ReadonlySet<string> | undefined {
  const items = spec.list("exportTo");
  if (items === undefined || items.length === 0) return undefined;
  const namespaces = new Set<string>();
  let everybody = false;
  for (const { node, path } of items) {
    const text = node.kind === "scalar" ? node.value : undefined;
    if (text === "*") everybody = true;
    else if (text === ".") namespaces.add(metadata.namespace);
    else if (typeof text === "string" && isDnsLabel(text)) namespaces.add(text);
    else if (text !== "~") report.expected(node, path, "a namespace, ., * or ~");
  }
  return everybody ? undefined : namespaces;
}

/** What Istio refuses as well: combinations that say nothing, or two things at once. */
function checkResolution(
  spec: Fields,
  entry: Pick<ServiceEntryResource, "hosts" | "resolution" | "endpoints" | "selector">,
  report: Report,
): void {
  const { hosts, resolution, endpoints, selector } = entry;
  const wrong = (name: string, text: string): void => {
    report.error(spec.get(name) ?? spec.node, spec.at(name), text);
  };
  if (endpoints.length > 0 && selector !== undefined) {
    wrong("workloadSelector", "expected endpoints or a workloadSelector, found both");
  }
  if (resolution === "none" && endpoints.length > 0) wrong("endpoints", "expected none with resolution NONE");
  if (resolution === "static") {
    const named = endpoints.find(({ address }) => address.kind === "name");
    if (named !== undefined) wrong("endpoints", "expected IP addresses with resolution STATIC, found a DNS name");
  }
  if (resolution === "dns" && endpoints.length === 0) {
    const wildcard = hosts.find((host) => host.startsWith("*."));
    if (wildcard !== undefined) {
      wrong("hosts", `expected endpoints, because ${wildcard} cannot be resolved, found none`);
    }
  }
}
