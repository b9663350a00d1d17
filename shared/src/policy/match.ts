// Pure. Whether one entry of a rule holds for a connection or a request; if not, which field says no.
import { inTrustDomain, trustDomainOf, workloadOf } from "../identity/spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "../identity/spiffe-id.ts";
import { cidrContains } from "../net/ip.ts";
import type { Cidr, Ip } from "../net/ip.ts";
import type { ConnectionFacts, PolicyOperation, PolicySource, RequestFacts } from "./authorization.ts";
import type { CompiledOperation, CompiledRequestPart, CompiledSource } from "./compile.ts";
import { inSet } from "./string-set.ts";
import type { StringSet } from "./string-set.ts";

const SCHEME = "spiffe://";
const NONE: readonly string[] = [];

/** A connection as the matchers ask for it. */
export interface PeerView {
  /** `<trust domain>/ns/<namespace>/sa/<service account>`; empty when no identity was proved. */
  readonly principal: string;
  /** The same name in the other trust domains that our own one is called by; none without aliases. */
  readonly otherPrincipals: readonly string[];
  /** The namespace that the caller's name bears, whichever domain vouches for it. */
  readonly claimedNamespace: string;
  /** The same, but empty unless the domain that vouches is our own. */
  readonly ownNamespace: string;
  readonly sourceIp: Ip;
  readonly destinationPort: number;
}

/** Derives what policies compare from the facts of a connection. */
export function viewPeer(
  facts: ConnectionFacts,
  own: TrustDomain | undefined,
  aliases: ReadonlySet<TrustDomain>,
): PeerView {
  const { principal, sourceIp, destinationPort } = facts;
  if (principal === undefined) {
    const namespaces = { claimedNamespace: "", ownNamespace: "" };
    return { principal: "", otherPrincipals: NONE, ...namespaces, sourceIp, destinationPort };
  }
  const namespace = workloadOf(principal)?.namespace ?? "";
  const domain = trustDomainOf(principal);
  const foreign = own !== undefined && domain !== own && !aliases.has(domain);
  return {
    principal: principal.slice(SCHEME.length),
    otherPrincipals:
      own === undefined || foreign || aliases.size === 0 ? NONE : otherNames(principal, [own, ...aliases]),
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
  if (source.principals !== undefined && !isOneOf(source.principals, peer)) return "principals";
  if (source.notPrincipals !== undefined && isOneOf(source.notPrincipals, peer)) return "notPrincipals";
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

/** By any of the names that mean the caller. */
function isOneOf(set: StringSet, { principal, otherPrincipals }: PeerView): boolean {
  return inSet(set, principal) || otherPrincipals.some((name) => inSet(set, name));
}

function otherNames(principal: SpiffeId, domains: readonly TrustDomain[]): readonly string[] {
  return domains
    .map((domain) => inTrustDomain(principal, domain))
    .filter((name) => name !== principal)
    .map((name) => name.slice(SCHEME.length));
}

function inBlocks(blocks: readonly Cidr[], ip: Ip): boolean {
  return blocks.some((block) => cidrContains(block, ip));
}
