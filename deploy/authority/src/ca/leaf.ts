// Machine. Writes and signs leaf certificates. Their form is always the same, so that it is written here byte by byte and signed by
// OpenSSL: a hundred times faster than by the library that mints authorities, and a mesh that starts asks for thousands at once.
import { X509Certificate, createHash, createPrivateKey, randomBytes, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";
import { EXTENDED_KEY_USAGE } from "@culvert/shared/identity/certificate-fields.ts";
import { DER, contentOf, readChildren, readElement } from "@culvert/shared/identity/der.ts";
import type { DerElement } from "@culvert/shared/identity/der.ts";
import {
  derBitString,
  derElement,
  derExtension,
  derInteger,
  derOctetString,
  derOid,
  derSequence,
  derTime,
} from "@culvert/shared/identity/der-writer.ts";
import { ipBytes, parseIp } from "@culvert/shared/net/ip.ts";
import type { CertificateAndKey } from "./certificate.ts";

/** What a leaf says. Times are milliseconds since the epoch, whole seconds of them. */
export interface Leaf {
  readonly uri: string;
  /** DNS names and IP addresses beside it. */
  readonly names?: readonly string[];
  readonly publicKey: KeyObject;
  readonly notBefore: number;
  readonly notAfter: number;
}

const SERIAL_BYTES = 16;
const OID = {
  subjectKeyId: "551d0e",
  keyUsage: "551d0f",
  subjectAltName: "551d11",
  basicConstraints: "551d13",
  authorityKeyId: "551d23",
  extendedKeyUsage: "551d25",
} as const;
/** Identifier octets of the kinds of name (RFC 5280 section 4.2.1.6), and of explicit tags. */
const NAME = { dns: 0x82, uri: 0x86, ip: 0x87 } as const;
const EXPLICIT = { version: 0xa0, extensions: 0xa3 } as const;
const KEY_ID = 0x80;
/** BIT STRING with digitalSignature alone: one bit, seven unused. */
const DIGITAL_SIGNATURE = Buffer.of(DER.bitString, 2, 7, 0x80);
const VERSION_3 = derElement(EXPLICIT.version, derInteger(Buffer.of(2)));

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

/** What of an issuer goes into every leaf. */
interface Signer {
  readonly key: KeyObject;
  readonly scheme: Scheme;
  /** Its name as it stands in its certificate, so that it compares equal byte for byte. */
  readonly name: Uint8Array;
  readonly keyId: Uint8Array;
}

/** An issuer is the same one for a year. */
const signers = new WeakMap<CertificateAndKey, Signer>();

/** Signs a leaf: version 3, random serial number of 128 bits, critical name and usages; PEM. */
export function signLeaf(issuer: CertificateAndKey, leaf: Leaf): string {
  const { key, scheme, name, keyId } = signerOf(issuer);
  const spki = leaf.publicKey.export({ type: "spki", format: "der" });
  const toSign = derSequence(
    VERSION_3,
    derInteger(randomBytes(SERIAL_BYTES)),
    scheme.identifier,
    name,
    derSequence(derTime(leaf.notBefore), derTime(leaf.notAfter)),
    derSequence(),
    spki,
    derElement(
      EXPLICIT.extensions,
      derSequence(
        derExtension(OID.basicConstraints, true, derSequence()),
        derExtension(OID.keyUsage, true, DIGITAL_SIGNATURE),
        derExtension(OID.subjectAltName, true, derSequence(...namesOf(leaf))),
        derExtension(OID.subjectKeyId, false, derOctetString(keyIdOf(spki))),
        derExtension(OID.authorityKeyId, false, derSequence(derElement(KEY_ID, keyId))),
        derExtension(
          OID.extendedKeyUsage,
          false,
          derSequence(derOid(EXTENDED_KEY_USAGE.server), derOid(EXTENDED_KEY_USAGE.client)),
        ),
      ),
    ),
  );
  const der = derSequence(toSign, scheme.identifier, derBitString(sign(scheme.digest, toSign, key)));
  const lines = der.toString("base64").replaceAll(/.{64}/g, "$&\n").trimEnd();
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

function namesOf({ uri, names = [] }: Leaf): readonly Buffer[] {
  return [derElement(NAME.uri, Buffer.from(uri, "latin1")), ...names.map(nameOf)];
}

function nameOf(text: string): Buffer {
  const ip = isIPv4(text) || isIPv6(text) ? parseIp(text) : undefined;
  return ip === undefined ? derElement(NAME.dns, Buffer.from(text, "latin1")) : derElement(NAME.ip, ipBytes(ip));
}

function signerOf(issuer: CertificateAndKey): Signer {
  let signer = signers.get(issuer);
  if (signer === undefined) {
    const { raw } = new X509Certificate(issuer.certificatePem);
    const key = createPrivateKey(issuer.keyPem);
    const { namedCurve } = key.asymmetricKeyDetails ?? {};
    const scheme = SCHEMES.get(namedCurve ?? key.asymmetricKeyType ?? "");
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
  const [, , , , , subject, spki] = parts[0]?.tag === EXPLICIT.version ? parts : [undefined, ...parts];
  const wrapper = parts.find(({ tag }) => tag === EXPLICIT.extensions);
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
    if (Buffer.from(contentOf(raw, oid)).toString("hex") !== OID.subjectKeyId) continue;
    const id = readElement(raw, value.start, value.end);
    return id === undefined ? undefined : contentOf(raw, id);
  }
  return undefined;
}

/** RFC 5280 section 4.2.1.2 (1): SHA-1 of the key's bits. It finds issuers and secures nothing. */
function keyIdOf(spki: Uint8Array): Buffer {
  const whole = readElement(spki, 0, spki.length);
  const [, bits] = whole === undefined ? [] : (readChildren(spki, whole, 2) ?? []);
  const octets = bits === undefined ? spki : contentOf(spki, bits).subarray(1);
  return createHash("sha1").update(octets).digest();
}
