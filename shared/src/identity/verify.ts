// Machine. Who the peer is: its chain, verified against the bundle of the trust domain that its own name is in. OpenSSL
// has one pool of roots, in which any domain's root could vouch for any name, so its verdict alone proves no identity.
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { EXTENDED_KEY_USAGE, fieldsOf } from "./certificate-fields.ts";
import type { CertificateFields } from "./certificate-fields.ts";
import { keyWeakness, publicKeyOf, signatureWeakness } from "./crypto-strength.ts";
import type { Bundle, Identity, Revocations, Trust } from "./source.ts";
import { isRevoked } from "./trust/revoked.ts";
import { homeName, trustDomainOf } from "./spiffe-id.ts";
import type { SpiffeId, TrustDomain } from "./spiffe-id.ts";
import { MAX_CHAIN, claimedId } from "./svid.ts";

declare const verified: unique symbol;

/** A peer whose certificate chain has been verified; made by `verifyPeer` alone. */
export interface VerifiedPeer {
  readonly id: SpiffeId;
  /** The earliest end of validity in the chain, milliseconds since the epoch: nobody is this peer after it. */
  readonly notAfter: number;
  /** Serial number of the leaf, upper-case hex. */
  readonly serial: string;
  readonly [verified]: true;
}

/** The part that the peer plays in the handshake: a `server` must be allowed serverAuth, a `client` clientAuth. */
export type PeerPurpose = "server" | "client";

/** What a peer has shown, and what to judge it by. */
export interface PeerEvidence {
  readonly leaf: X509Certificate;
  /** As the peer sent them; order and use do not matter, number does. */
  readonly intermediates: readonly X509Certificate[];
  readonly bundles: ReadonlyMap<TrustDomain, Bundle>;
  /** Lists of what is revoked; none when not given. */
  readonly revocations?: Revocations;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly purpose: PeerPurpose;
}

/** Clocks differ a little, so a certificate may begin in our near future; none may be used after its end. */
const NOT_BEFORE_GRACE_MS = 60_000;
/** The most signatures checked for one peer: a straight chain needs at most `MAX_CHAIN`, cross-signed ones a few more. */
const MAX_SIGNATURE_CHECKS = 16;

/**
 * Which intermediates each root has signed, by SHA-256 of the whole certificate: a mesh has few, every peer sends one, and
 * the check is a third of the whole verdict. Only proven signatures are kept, so nobody but the root's owner can fill it.
 */
const provenLinks = new WeakMap<X509Certificate, Set<string>>();
const MAX_PROVEN_LINKS = 64;

/** A chain from the leaf upward that is sound so far. */
interface Path {
  readonly top: X509Certificate;
  /** The same without its top. */
  readonly below: Path | undefined;
  readonly length: number;
  readonly notAfter: number;
}

/**
 * Verifies a peer's chain (RFC 5280 section 6, X509-SVID section 5): shape of the leaf, then up through the intermediates to
 * a root of the leaf's own trust domain, at each step name, signature, validity, CA flag, key usage, path length, extended key
 * usage, name constraints and strength; at last, that nothing on the way there is revoked. Fails with IDENTITY_MALFORMED,
 * IDENTITY_UNTRUSTED, IDENTITY_EXPIRED or IDENTITY_REVOKED.
 */
export function verifyPeer(evidence: PeerEvidence): VerifiedPeer | Failure {
  const { leaf, intermediates, bundles, now, purpose } = evidence;
  const id = claimedId(leaf);
  if (isFailure(id)) return id;
  const domain = trustDomainOf(id);
  const bundle = bundles.get(domain);
  if (bundle === undefined) return fail("IDENTITY_UNTRUSTED", `${id}: trust domain ${domain} has no bundle here`);
  if (intermediates.length + 2 > MAX_CHAIN) {
    return fail("IDENTITY_UNTRUSTED", `${id}: the chain has more than ${MAX_CHAIN} certificates`);
  }
  const problem = validityProblem(leaf, now, id) ?? purposeProblem(leaf, purpose, id);
  if (problem !== undefined) return problem;
  const notAfter = anchor(id, bundle.roots, evidence);
  if (isFailure(notAfter)) return notAfter;
  return { id, notAfter, serial: leaf.serialNumber } as VerifiedPeer;
}

/**
 * Checks that a verified peer is one of those expected; nobody is expected of an empty list. Names in an alias of `own`'s trust
 * domain are the same names. Fails with IDENTITY_MISMATCH.
 */
export function expectPeer(
  peer: VerifiedPeer,
  expected: readonly SpiffeId[],
  own?: Pick<Identity, "svid" | "aliases">,
): Failure | undefined {
  if (expected.includes(peer.id)) return undefined;
  if (own !== undefined && own.aliases.size > 0) {
    const domain = trustDomainOf(own.svid.id);
    const name = homeName(peer.id, domain, own.aliases);
    if (expected.some((id) => homeName(id, domain, own.aliases) === name)) return undefined;
  }
  return fail("IDENTITY_MISMATCH", `the peer is ${peer.id}, expected ${expected.join(" or ") || "nobody"}`);
}

/**
 * The verified peer of a socket whose handshake has ended, from the certificate of this very handshake. A resumed session has
 * none, and anything but TLS 1.3 with h2 is no mesh peer: both are refused. Fails as `verifyPeer`, or with PEER_TLS_FAILURE.
 */
export function peerOfSocket(
  socket: TLSSocket,
  { bundles, revocations }: Trust,
  clock: Pick<Clock, "now">,
  purpose: PeerPurpose,
): VerifiedPeer | Failure {
  if (socket.isSessionReused()) return fail("PEER_TLS_FAILURE", "the TLS session is a resumed one");
  if (socket.getProtocol() !== "TLSv1.3") return fail("PEER_TLS_FAILURE", `${socket.getProtocol()} instead of TLS 1.3`);
  if (socket.alpnProtocol !== "h2") return fail("PEER_TLS_FAILURE", "the peer did not agree on ALPN h2");
  const chain = chainOfSocket(socket);
  if (isFailure(chain)) return chain;
  return verifyPeer({ ...chain, bundles, revocations, now: clock.now(), purpose });
}

/** What the peer of a socket has presented, proven or not. Fails with IDENTITY_UNTRUSTED when it is nothing. */
export function chainOfSocket(socket: TLSSocket): Pick<PeerEvidence, "leaf" | "intermediates"> | Failure {
  const leaf = socket.getPeerX509Certificate();
  if (leaf === undefined) return fail("IDENTITY_UNTRUSTED", "the peer has no certificate");
  const intermediates: X509Certificate[] = [];
  // `issuerCertificate` of a peer's certificate is the next one that the peer sent, proven or not.
  for (let next = leaf.issuerCertificate; next !== undefined; next = next.issuerCertificate) {
    intermediates.push(next);
    if (intermediates.length >= MAX_CHAIN) break;
  }
  return { leaf, intermediates };
}

/** Searches upward from the leaf, depth first, for a root; returns the earliest end of validity on the way there. */
function anchor(id: SpiffeId, roots: readonly X509Certificate[], evidence: PeerEvidence): number | Failure {
  const { leaf, intermediates, revocations, now, purpose } = evidence;
  const trusted = new Set(roots);
  const open: Path[] = [{ top: leaf, below: undefined, length: 1, notAfter: leaf.validToDate.getTime() }];
  let checks = MAX_SIGNATURE_CHECKS;
  let revoked: Failure | undefined;
  let reason = fail("IDENTITY_UNTRUSTED", `${id}: no chain to the bundle of its trust domain`);
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    const { top, length } = path;
    // Roots go last on the stack, so that they are tried first.
    for (const issuer of [...intermediates, ...roots]) {
      if (length >= MAX_CHAIN || !top.checkIssued(issuer)) continue;
      const problem = validityProblem(issuer, now, id) ?? issuerProblem(issuer, id, length - 1, purpose);
      if (problem !== undefined) {
        reason = problem;
        continue;
      }
      checks -= 1;
      if (checks < 0) return fail("IDENTITY_UNTRUSTED", `${id}: too many signatures to check`);
      const isRoot = trusted.has(issuer);
      const unsigned = isRoot && top !== leaf ? linkProblem(top, issuer) : signatureProblem(top, issuer);
      if (unsigned !== undefined) {
        reason = fail("IDENTITY_UNTRUSTED", `${id}: ${unsigned}`);
        continue;
      }
      const notAfter = Math.min(path.notAfter, issuer.validToDate.getTime());
      if (!isRoot) {
        open.push({ top: issuer, below: path, length: length + 1, notAfter });
        continue;
      }
      const what = revokedIn(path, issuer, roots, revocations);
      if (what === undefined) return notAfter;
      revoked = fail("IDENTITY_REVOKED", `${id}: ${what}`);
    }
  }
  return revoked ?? reason;
}

/** What of a proven path to `root` is revoked. Asked last, so that lists are only ever held against proven issuers. */
function revokedIn(
  path: Path,
  root: X509Certificate,
  roots: readonly X509Certificate[],
  revocations: Revocations | undefined,
): string | undefined {
  if (revocations === undefined || revocations.size === 0) return undefined;
  let issuer = root;
  for (let at: Path | undefined = path; at !== undefined; at = at.below) {
    if (isRevoked(at.top, issuer, roots, revocations)) {
      const what = at.below === undefined ? "its certificate" : `authority ${JSON.stringify(at.top.subject ?? "")}`;
      return `${what} with serial number ${at.top.serialNumber} is revoked`;
    }
    issuer = at.top;
  }
  return undefined;
}

function validityProblem(certificate: X509Certificate, now: number, id: SpiffeId): Failure | undefined {
  const from = certificate.validFromDate.getTime();
  const to = certificate.validToDate.getTime();
  if (from - NOT_BEFORE_GRACE_MS <= now && now <= to) return undefined;
  const named = `${id}: certificate ${JSON.stringify(certificate.subject ?? "")}`;
  return fail("IDENTITY_EXPIRED", `${named} is valid from ${certificate.validFrom} to ${certificate.validTo}`);
}

/** Where extended usages are listed the peer's part must be among them, in CA certificates too, as OpenSSL has it. */
function purposeProblem(certificate: X509Certificate, purpose: PeerPurpose, id: SpiffeId): Failure | undefined {
  const fields = fieldsOf(certificate);
  if (isFailure(fields)) return fields;
  const usages = fields.extendedKeyUsage;
  if (usages === undefined || usages.includes(EXTENDED_KEY_USAGE[purpose])) return undefined;
  return fail("IDENTITY_UNTRUSTED", `${id}: the extended key usage does not allow a ${purpose}`);
}

/** Whether `issuer` may stand in a chain with `below` CA certificates under it. */
function issuerProblem(
  issuer: X509Certificate,
  id: SpiffeId,
  below: number,
  purpose: PeerPurpose,
): Failure | undefined {
  const fields = fieldsOf(issuer);
  if (isFailure(fields)) return fields;
  const problem = caProblem(fields, below) ?? constraintProblem(fields, trustDomainOf(id));
  if (problem === undefined) return purposeProblem(issuer, purpose, id);
  return fail("IDENTITY_UNTRUSTED", `${id}: issuer ${JSON.stringify(issuer.subject ?? "")} ${problem}`);
}

function caProblem(fields: CertificateFields, below: number): string | undefined {
  if (!fields.isCa) return "is not a CA";
  if (fields.keyUsage !== undefined && !fields.keyUsage.certSign) return "may not sign certificates";
  if (fields.pathLength !== undefined && below > fields.pathLength) {
    return `allows ${fields.pathLength} CA certificates below it, found ${below}`;
  }
  return undefined;
}

function constraintProblem(fields: CertificateFields, domain: TrustDomain): string | undefined {
  if (fields.permittedHosts !== undefined && !fields.permittedHosts.some((host) => withinHost(domain, host))) {
    return `is constrained to other names than ${domain}`;
  }
  return fields.excludedHosts.some((host) => withinHost(domain, host)) ? `may not vouch for ${domain}` : undefined;
}

/** RFC 5280 section 4.2.1.10: a URI constraint with a leading dot means the hosts below, without one exactly that host. */
function withinHost(domain: string, constraint: string): boolean {
  const host = constraint.toLowerCase();
  return host.startsWith(".") ? domain.endsWith(host) && domain.length > host.length : domain === host;
}

function signatureProblem(certificate: X509Certificate, issuer: X509Certificate): string | undefined {
  const key = publicKeyOf(issuer);
  if (key === undefined) return "an issuer's key cannot be read";
  const weakness = keyWeakness(key) ?? signatureWeakness(certificate);
  if (weakness !== undefined) return weakness;
  try {
    return certificate.verify(key) ? undefined : "a signature in the chain is wrong";
  } catch {
    return "a signature in the chain cannot be checked";
  }
}

/** `signatureProblem` for an intermediate under a root, remembering what was proven. */
function linkProblem(intermediate: X509Certificate, root: X509Certificate): string | undefined {
  const links = provenLinks.get(root) ?? new Set();
  const fingerprint = intermediate.fingerprint256;
  if (links.has(fingerprint)) return undefined;
  const problem = signatureProblem(intermediate, root);
  if (problem === undefined && links.size < MAX_PROVEN_LINKS) provenLinks.set(root, links.add(fingerprint));
  return problem;
}
