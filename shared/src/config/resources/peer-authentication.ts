// Pure. security.istio.io PeerAuthentication: whether plaintext may come in. What cannot be understood is STRICT.
import type { PeerAuthentication } from "../../policy/authorization.ts";
import type { Fields } from "./fields.ts";
import type { Report } from "./report.ts";
import type { Metadata, PeerAuthenticationResource } from "./resource.ts";
import { parseSelector } from "./selector.ts";

const MODES = ["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] as const;

type Mode = PeerAuthentication["mode"];

/** Reads the `spec` of a PeerAuthentication. */
export function parsePeerAuthentication(
  metadata: Metadata,
  spec: Fields | undefined,
  report: Report,
): PeerAuthenticationResource {
  const selector = spec === undefined ? undefined : parseSelector(spec, report);
  const mode = parseMode(spec?.fields("mtls"));
  const portModes = new Map<number, Mode>();
  const ports = spec?.fields("portLevelMtls");
  for (const name of ports?.node.entries.keys() ?? []) {
    const portMode = parseMode(ports?.fields(name));
    if (/^[1-9]\d{0,4}$/.test(name) && Number(name) <= 65535) portModes.set(Number(name), portMode);
    else if (ports !== undefined) report.malformed(ports.node, ports.at(name), "expected a port");
  }
  if (spec !== undefined && portModes.size > 0 && selector === undefined) {
    report.malformed(spec.node, spec.at("portLevelMtls"), "expected a selector beside it");
  }
  spec?.end();
  const understood = report.reason === undefined;
  return {
    kind: "PeerAuthentication",
    metadata,
    peerAuthentication: {
      uid: `${metadata.namespace}/${metadata.name}`,
      namespace: metadata.namespace,
      name: metadata.name,
      selector,
      mode: understood ? mode : "STRICT",
      portModes: understood ? portModes : new Map(),
      notUnderstood: report.reason,
    },
  };
}

function parseMode(fields: Fields | undefined): Mode {
  const mode = fields?.word("mode", MODES) ?? "UNSET";
  fields?.end();
  return mode;
}
