// Machine. Writes and signs leaf certificates. Their form is always the same, so that it is written here byte by byte and signed by
// OpenSSL: a hundred times faster than by the library that mints authorities, and a mesh that starts asks for thousands at once.
import { randomBytes } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { isIPv4, isIPv6 } from "node:net";
import { EXTENDED_KEY_USAGE } from "@culvert/shared/identity/certificate-fields.ts";
import { DER } from "@culvert/shared/identity/der.ts";
import {
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
import { KEY_ID, keyIdOf, pemText, signed, signerOf } from "./signer.ts";

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
/** BIT STRING with digitalSignature alone: one bit, seven unused. */
const DIGITAL_SIGNATURE = Buffer.of(DER.bitString, 2, 7, 0x80);
const VERSION_3 = derElement(EXPLICIT.version, derInteger(Buffer.of(2)));

/** Signs a leaf: version 3, random serial number of 128 bits, critical name and usages; PEM. */
export function signLeaf(issuer: CertificateAndKey, leaf: Leaf): string {
  const signer = signerOf(issuer);
  const { scheme, name, keyId } = signer;
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
  return pemText("CERTIFICATE", signed(signer, toSign));
}

function namesOf({ uri, names = [] }: Leaf): readonly Buffer[] {
  return [derElement(NAME.uri, Buffer.from(uri, "latin1")), ...names.map(nameOf)];
}

function nameOf(text: string): Buffer {
  const ip = isIPv4(text) || isIPv6(text) ? parseIp(text) : undefined;
  return ip === undefined ? derElement(NAME.dns, Buffer.from(text, "latin1")) : derElement(NAME.ip, ipBytes(ip));
}
