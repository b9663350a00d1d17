// Pure. Whether an issuer has revoked a certificate, by the lists that are known. What is on no list is not revoked.
import { verify } from "node:crypto";
import type { KeyObject, X509Certificate } from "node:crypto";
import { isFailure } from "../../failure/failure.ts";
import { fieldsOf } from "../certificate-fields.ts";
import { keyWeakness, publicKeyOf } from "../crypto-strength.ts";
import { DER, readChildren, readElement } from "../der.ts";
import type { RevocationList, Revocations, SignedContent } from "../source.ts";

/** By what a revocation list names a certificate, and who signs it. */
interface Names {
  /** As `serialOf` writes it. */
  readonly serial: string;
  /** Its own name, DER as hex. */
  readonly subject: string;
}

/** How the signature algorithms of `crypto-strength.ts` are asked of the runtime, by the hex of their OID. */
const ALGORITHMS: ReadonlyMap<string, { readonly key: "ec" | "rsa" | "ed25519"; readonly hash: string | null }> =
  new Map([
    ["2a8648ce3d040302", { key: "ec", hash: "sha256" }],
    ["2a8648ce3d040303", { key: "ec", hash: "sha384" }],
    ["2a8648ce3d040304", { key: "ec", hash: "sha512" }],
    ["2a864886f70d01010b", { key: "rsa", hash: "sha256" }],
    ["2a864886f70d01010c", { key: "rsa", hash: "sha384" }],
    ["2a864886f70d01010d", { key: "rsa", hash: "sha512" }],
    ["2b6570", { key: "ed25519", hash: null }],
  ]);

/** Which authorities have signed a list, and which have not, by the SHA-256 of their certificates. */
const verdicts = new WeakMap<RevocationList, Map<string, boolean>>();
/** More than the issuers of one name that a mesh ever has; a full table is begun anew. */
const MAX_VERDICTS = 64;

const known = new WeakMap<X509Certificate, Names>();

/**
 * Whether `certificate` is on a list of `issuer`, which must have been proven. A list counts if the issuer has signed it, or a
 * root of the same name (an authority may sign with its newest key what its older ones have issued), and it may sign lists.
 */
export function isRevoked(
  certificate: X509Certificate,
  issuer: X509Certificate,
  roots: readonly X509Certificate[],
  revocations: Revocations,
): boolean {
  const { subject } = namesOf(issuer);
  const { serial } = namesOf(certificate);
  return (revocations.get(subject) ?? []).some(
    (list) => list.serials.has(serial) && [issuer, ...roots].some((signer) => hasSigned(signer, list)),
  );
}

/** Whether a certificate bears the name of a list's issuer. */
export function bearsNameOf(certificate: X509Certificate, list: RevocationList): boolean {
  return namesOf(certificate).subject === list.issuer;
}

/** Whether `signer` bears the list's name, may sign lists and has signed this one. */
export function hasSigned(signer: X509Certificate, list: RevocationList): boolean {
  if (!bearsNameOf(signer, list)) return false;
  const seen = verdicts.get(list) ?? new Map<string, boolean>();
  const fingerprint = signer.fingerprint256;
  let verdict = seen.get(fingerprint);
  if (verdict === undefined) {
    verdict = maySignLists(signer) && isSignedBy(list.signed, publicKeyOf(signer));
    if (seen.size >= MAX_VERDICTS) seen.clear();
    verdicts.set(list, seen.set(fingerprint, verdict));
  }
  return verdict;
}

/** A serial number as lists and certificates are compared by: hex without leading zeros. */
export function serialOf(bytes: Uint8Array, integer: { readonly start: number; readonly end: number }): string {
  let { start } = integer;
  while (start < integer.end - 1 && bytes[start] === 0) start += 1;
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, integer.end - start).toString("hex");
}

/** RFC 5280 section 4.2.1.3: where key usages are listed, cRLSign must be among them. */
function maySignLists(signer: X509Certificate): boolean {
  const fields = fieldsOf(signer);
  return !isFailure(fields) && fields.isCa && (fields.keyUsage?.crlSign ?? true);
}

function isSignedBy({ content, signature, algorithm }: SignedContent, key: KeyObject | undefined): boolean {
  const method = ALGORITHMS.get(algorithm);
  if (method === undefined || key === undefined) return false;
  if (key.asymmetricKeyType !== method.key || keyWeakness(key) !== undefined) return false;
  try {
    return verify(method.hash, content, key, signature);
  } catch {
    return false;
  }
}

function namesOf(certificate: X509Certificate): Names {
  let names = known.get(certificate);
  if (names === undefined) {
    names = readNames(certificate.raw);
    known.set(certificate, names);
  }
  return names;
}

/** TBSCertificate: [0] version, serialNumber, signature, issuer, validity, subject (RFC 5280 section 4.1). */
function readNames(raw: Uint8Array): Names {
  const certificate = readElement(raw, 0, raw.length);
  const tbs = certificate === undefined ? undefined : readChildren(raw, certificate, 3)?.[0];
  const parts = tbs === undefined ? [] : (readChildren(raw, tbs, 10) ?? []);
  const at = parts.findIndex((part) => part.tag === DER.integer);
  const serial = parts[at];
  const subject = parts[at + 4];
  // OpenSSL has read it, so it has both; no list names the empty texts.
  if (serial === undefined || subject === undefined) return { serial: "", subject: "" };
  return {
    serial: serialOf(raw, serial),
    subject: Buffer.from(raw.subarray(subject.from, subject.end)).toString("hex"),
  };
}
