// Machine. An issuer as what it signs needs it, and its signature on DER, by whatever key it has.
import { X509Certificate, createHash, createPrivateKey, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { contentOf, readChildren, readElement } from "@culvert/shared/identity/der.ts";
import type { DerElement } from "@culvert/shared/identity/der.ts";
import { derBitString, derOid, derSequence } from "@culvert/shared/identity/der-writer.ts";
import type { CertificateAndKey } from "./certificate.ts";

const SUBJECT_KEY_ID = "551d0e";
const VERSION = 0xa0;
const EXTENSIONS = 0xa3;
/** The field of an authority key identifier that holds one (RFC 5280 section 4.2.1.1). */
export const KEY_ID = 0x80;

/** How a key signs: the digest for OpenSSL (none for keys that need none), and the AlgorithmIdentifier. */
interface Scheme {
  readonly digest: string | null;
  readonly identifier: Buffer;
}

const NULL = Buffer.of(5, 0);
const SCHEMES: ReadonlyMap<string, Scheme> = new Map([
  ["prime256v1", { digest: "sha256", identifier: derSequence(derOid("2a8648ce3d040302")) }],
  ["secp384r1", { digest: "sha384", identifier: derSequence(derOid("2a8648ce3d040303")) }],
  ["secp521r1", { digest: "sha512", identifier: derSequence(derOid("2a8648ce3d040304")) }],
  ["rsa", { digest: "sha256", identifier: derSequence(derOid("2a864886f70d01010b"), NULL) }],
  ["ed25519", { digest: null, identifier: derSequence(derOid("2b6570")) }],
]);

/** An issuer, and what of it goes into all that it signs. */
export interface Signer {
  readonly key: KeyObject;
  readonly scheme: Scheme;
  /** Its name as it stands in its certificate, so that it compares equal byte for byte. */
  readonly name: Uint8Array;
  readonly keyId: Uint8Array;
}

/** An issuer is the same one for a year. */
const signers = new WeakMap<CertificateAndKey, Signer>();

/** Whether a key can sign here. */
export function canSign(key: KeyObject): boolean {
  return schemeOf(key) !== undefined;
}

/** The Certificate or CertificateList around what is to be signed, which names the algorithm itself. */
export function signed({ scheme, key }: Signer, toSign: Uint8Array): Buffer {
  return derSequence(toSign, scheme.identifier, derBitString(sign(scheme.digest, toSign, key)));
}

/** DER as PEM (RFC 7468). */
export function pemText(label: "CERTIFICATE" | "X509 CRL", der: Buffer): string {
  const lines = der.toString("base64").replaceAll(/.{64}/g, "$&\n").trimEnd();
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

function schemeOf(key: KeyObject): Scheme | undefined {
  return SCHEMES.get(key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType ?? "");
}

/** An issuer, ready to sign. */
export function signerOf(issuer: CertificateAndKey): Signer {
  let signer = signers.get(issuer);
  if (signer === undefined) {
    const { raw } = new X509Certificate(issuer.certificatePem);
    const key = createPrivateKey(issuer.keyPem);
    const scheme = schemeOf(key);
    // What cannot sign is refused where it is read from the folder.
    if (scheme === undefined) throw new Error(`an issuer with a key of type ${key.asymmetricKeyType}`);
    signer = { key, scheme, ...subjectOf(raw) };
    signers.set(issuer, signer);
  }
  return signer;
}

/** Subject and key identifier of a certificate: that of its extension, or, without one, the usual hash of its key. */
function subjectOf(raw: Uint8Array): { readonly name: Uint8Array; readonly keyId: Uint8Array } {
  const certificate = readElement(raw, 0, raw.length);
  const [tbs] = certificate === undefined ? [] : (readChildren(raw, certificate, 3) ?? []);
  const parts = tbs === undefined ? [] : (readChildren(raw, tbs, 10) ?? []);
  // Version, serial number, algorithm, issuer, validity, subject, key; the version is absent in the oldest form only.
  const [, , , , , subject, spki] = parts[0]?.tag === VERSION ? parts : [undefined, ...parts];
  const wrapper = parts.find(({ tag }) => tag === EXTENSIONS);
  if (subject === undefined || spki === undefined) throw new Error("an issuer whose certificate is not DER");
  return {
    name: raw.subarray(subject.from, subject.end),
    keyId: keyIdIn(raw, wrapper) ?? keyIdOf(raw.subarray(spki.from, spki.end)),
  };
}

function keyIdIn(raw: Uint8Array, wrapper: DerElement | undefined): Uint8Array | undefined {
  const [list] = wrapper === undefined ? [] : (readChildren(raw, wrapper, 1) ?? []);
  for (const extension of list === undefined ? [] : (readChildren(raw, list, 32) ?? [])) {
    const [oid, ...rest] = readChildren(raw, extension, 3) ?? [];
    const value = rest.at(-1);
    if (oid === undefined || value === undefined) continue;
    if (Buffer.from(contentOf(raw, oid)).toString("hex") !== SUBJECT_KEY_ID) continue;
    const id = readElement(raw, value.start, value.end);
    return id === undefined ? undefined : contentOf(raw, id);
  }
  return undefined;
}

/** RFC 5280 section 4.2.1.2 (1): SHA-1 of the key's bits. It finds issuers and secures nothing. */
export function keyIdOf(spki: Uint8Array): Buffer {
  const whole = readElement(spki, 0, spki.length);
  const [, bits] = whole === undefined ? [] : (readChildren(spki, whole, 2) ?? []);
  const octets = bits === undefined ? spki : contentOf(spki, bits).subarray(1);
  return createHash("sha1").update(octets).digest();
}
