// Pure. networking.istio.io WorkloadEntry: something that runs at an address, or behind a DNS name.
import { isFailure } from "../../failure/failure.ts";
import { parseTrustDomain } from "../../identity/spiffe-id.ts";
import type { TrustDomain } from "../../identity/spiffe-id.ts";
import { parseIp } from "../../net/ip.ts";
import { parseHost } from "../../net/listen-address.ts";
import { isDnsName, isLabelKey, isLabelValue, isPortName } from "../names.ts";
import type { Fields } from "./fields.ts";
import { HBONE_PORT_ANNOTATION, TRUST_DOMAIN_ANNOTATION } from "./metadata.ts";
import { placeOf, type Report } from "./report.ts";
import type { EndpointPlace, Metadata, WorkloadEntryResource } from "./resource.ts";

/** Port of a tunnel listener of which nothing else is said. */
export const DEFAULT_HBONE_PORT = 15008;
const DEFAULT_SERVICE_ACCOUNT = "default";

/** Reads the `spec` of a WorkloadEntry. */
export function parseWorkloadEntry(
  metadata: Metadata,
  spec: Fields | undefined,
  report: Report,
): WorkloadEntryResource | undefined {
  if (spec === undefined) return report.error(placeOf(metadata), "spec", "expected a mapping, found nothing");
  const place = parsePlace(spec, report);
  if (place === undefined) return undefined;
  const { labels } = place;
  return {
    kind: "WorkloadEntry",
    metadata,
    ...place,
    labels: labels.size === 0 ? metadata.labels : new Map([...metadata.labels, ...labels]),
    hbonePort: Number(metadata.annotations.get(HBONE_PORT_ANNOTATION) ?? DEFAULT_HBONE_PORT),
    trustDomain: trustDomainOf(metadata),
    healthy: report.reason === undefined,
  };
}

/** `parseMetadata` has refused what is none. */
function trustDomainOf({ annotations }: Metadata): TrustDomain | undefined {
  const domain = parseTrustDomain(annotations.get(TRUST_DOMAIN_ANNOTATION) ?? "");
  return isFailure(domain) ? undefined : domain;
}

/** Reads the fields that a WorkloadEntry and an endpoint of a ServiceEntry have in common, which are all that there are. */
export function parsePlace(spec: Fields, report: Report): EndpointPlace | undefined {
  const address = parseAddress(spec, report);
  const serviceAccount = spec.string("serviceAccount", "a service account name", isDnsName) ?? DEFAULT_SERVICE_ACCOUNT;
  const ports = parsePorts(spec, report);
  const weight = spec.integer("weight", 0, 4_294_967_295);
  const labels = spec.strings("labels") ?? new Map<string, string>();
  for (const [key, value] of labels) {
    if (isLabelKey(key) && isLabelValue(value)) continue;
    report.error(
      spec.node,
      spec.at("labels"),
      `expected a label, found ${JSON.stringify(key)}: ${JSON.stringify(value)}`,
    );
  }
  const network = spec.string("network", "the name of a network", isLabelValue);
  const locality = spec.string("locality", "region/zone/subzone", isLocality);
  spec.end();
  if (address === undefined) return undefined;
  return {
    address,
    serviceAccount,
    ports,
    // In Istio's protobuf 0 and absent are one.
    weight: weight === undefined || weight === 0 ? 1 : weight,
    labels,
    locality,
    network: network === "" ? undefined : network,
  };
}

function isLocality(text: string): boolean {
  const parts = text.split("/");
  return parts.length <= 3 && parts.every((part) => part === "" || isLabelValue(part));
}

function parseAddress(spec: Fields, report: Report): EndpointPlace["address"] | undefined {
  const text = spec.string("address");
  if (text === undefined) {
    if (spec.get("address") !== undefined) return undefined;
    return report.error(spec.node, spec.at("address"), "expected an IP address or a DNS name, found nothing");
  }
  const ip = parseIp(text);
  if (ip !== undefined) return { kind: "ip", ip };
  const host = text.startsWith("unix:") ? undefined : parseHost(text)?.toLowerCase();
  if (host !== undefined) return { kind: "name", host };
  const node = spec.get("address") ?? spec.node;
  return report.expected(node, spec.at("address"), "an IP address or a DNS name");
}

function parsePorts(spec: Fields, report: Report): Map<string, number> {
  const ports = new Map<string, number>();
  const fields = spec.fields("ports");
  for (const name of fields?.node.entries.keys() ?? []) {
    if (!isPortName(name))
      report.error(spec.node, spec.at("ports"), `expected a port name, found ${JSON.stringify(name)}`);
    const port = fields?.integer(name, 1, 65535);
    if (port !== undefined) ports.set(name, port);
  }
  return ports;
}
