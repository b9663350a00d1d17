// Pure. Whether one entry of a rule holds for a connection or a request; if not, which field says no.
import { trustDomainOf, workloadOf } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/spiffe-id.ts";
import { cidrContains } from "../net/ip.ts";
import type { Cidr, Ip } from "../net/ip.ts";
import type { ConnectionFacts, PolicyOperation, PolicySource, RequestFacts } from "./authorization.ts";
import type { CompiledOperation, CompiledRequestPart, CompiledSource } from "./compile.ts";
import { inSet } from "./string-set.ts";

/** A connection as the matchers ask for it. */
export interface PeerView {
  /** `<trust domain>/ns/<namespace>/sa/<service account>`; empty when no identity was proved. */
  readonly principal: string;
  /** The namespace that the caller's name bears, whichever domain vouches for it. */
  readonly claimedNamespace: string;
  /** The same, but empty unless the domain that vouches is our own. */
  readonly ownNamespace: string;
  readonly sourceIp: Ip;
  readonly destinationPort: number;
}

/** Derives what policies compare from the facts of a connection. */
export function viewPeer(facts: ConnectionFacts, own: TrustDomain | undefined): PeerView {
  const { principal, sourceIp, destinationPort } = facts;
  if (principal === undefined) {
    return { principal: "", claimedNamespace: "", ownNamespace: "", sourceIp, destinationPort };
  }
  const namespace = workloadOf(principal)?.namespace ?? "";
  const foreign = own !== undefined && trustDomainOf(principal) !== own;
  return {
    principal: principal.slice("spiffe://".length),
    claimedNamespace: namespace,
    ownNamespace: foreign ? "" : namespace,
    sourceIp,
    destinationPort,
  };
}

/**
 * The first field of a `from` entry that does not hold, or `undefined` when all do. What is unsure (the namespace of a
 * federated caller) counts against the caller: towards matching in a DENY policy, away from it in an ALLOW policy.
 */
export function sourceMismatch(
  source: CompiledSource,
  peer: PeerView,
  action: "ALLOW" | "DENY",
): keyof PolicySource | undefined {
  if (source.principals !== undefined && !inSet(source.principals, peer.principal)) return "principals";
  if (source.notPrincipals !== undefined && inSet(source.notPrincipals, peer.principal)) return "notPrincipals";
  const [wanted, excluded] =
    action === "DENY" ? [peer.claimedNamespace, peer.ownNamespace] : [peer.ownNamespace, peer.claimedNamespace];
  if (source.namespaces !== undefined && !inSet(source.namespaces, wanted)) return "namespaces";
  if (source.notNamespaces !== undefined && inSet(source.notNamespaces, excluded)) return "notNamespaces";
  if (source.ipBlocks.length > 0 && !inBlocks(source.ipBlocks, peer.sourceIp)) return "ipBlocks";
  if (source.notIpBlocks.length > 0 && inBlocks(source.notIpBlocks, peer.sourceIp)) return "notIpBlocks";
  return undefined;
}

/** The first field of a `to` entry that the connection alone refutes, or `undefined`. */
export function portMismatch(operation: CompiledOperation, port: number): keyof PolicyOperation | undefined {
  if (operation.ports.length > 0 && !operation.ports.includes(port)) return "ports";
  if (operation.notPorts.includes(port)) return "notPorts";
  return undefined;
}

/** The first field of a `to` entry that the request refutes, or `undefined`. Hot path: allocates nothing. */
export function requestMismatch(part: CompiledRequestPart, request: RequestFacts): keyof PolicyOperation | undefined {
  if (part.methods !== undefined && !inSet(part.methods, request.method)) return "methods";
  if (part.notMethods !== undefined && inSet(part.notMethods, request.method)) return "notMethods";
  if (part.paths !== undefined && !inSet(part.paths, request.path)) return "paths";
  if (part.notPaths !== undefined && inSet(part.notPaths, request.path)) return "notPaths";
  if (part.hosts !== undefined && !inSet(part.hosts, request.host)) return "hosts";
  if (part.notHosts !== undefined && inSet(part.notHosts, request.host)) return "notHosts";
  return undefined;
}

function inBlocks(blocks: readonly Cidr[], ip: Ip): boolean {
  return blocks.some((block) => cidrContains(block, ip));
}
