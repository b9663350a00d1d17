// Pure. What a certificate says about itself in its extensions, read from DER: `node:crypto` gives the names only as one
// joined string, calls the extended key usage `keyUsage`, and tells neither the key usage nor the path length.
import type { X509Certificate } from "node:crypto";
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { DER, contentOf, readChildren, readElement } from "./der.ts";
import type { DerElement } from "./der.ts";

/** Key usages (RFC 5280 section 4.2.1.3) that decide what a certificate may be here. */
export interface KeyUsage {
  readonly digitalSignature: boolean;
  readonly certSign: boolean;
  readonly crlSign: boolean;
}

/** The extensions that verification needs. */
export interface CertificateFields {
  /** URI names of the subjectAltName, byte for byte, in order. */
  readonly uris: readonly string[];
  readonly isCa: boolean;
  /** How many further CA certificates may follow below this one; undefined is no limit. */
  readonly pathLength: number | undefined;
  readonly keyUsage: KeyUsage | undefined;
  /** Extended key usages as the hex of their OIDs (`EXTENDED_KEY_USAGE`); undefined when there is no such extension. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** Hosts that URI names below this CA must match one of; undefined is no limit (RFC 5280 section 4.2.1.10). */
  readonly permittedHosts: readonly string[] | undefined;
  readonly excludedHosts: readonly string[];
}

/** Extended key usages of TLS (RFC 5280 section 4.2.1.12), as `CertificateFields` carries them. */
export const EXTENDED_KEY_USAGE = {
  server: "2b06010505070301",
  client: "2b06010505070302",
} as const;

/** Larger than any honest certificate with its one name of 2,048 bytes; small enough to read in no time. */
const MAX_CERTIFICATE_BYTES = 16 * 1024;
const MAX_EXTENSIONS = 32;
const MAX_LIST = 64;

const OID = {
  subjectAltName: "551d11",
  basicConstraints: "551d13",
  nameConstraints: "551d1e",
  certificatePolicies: "551d20",
  keyUsage: "551d0f",
  extendedKeyUsage: "551d25",
} as const;

const URI_NAME = 0x86;
const CONTEXT_CLASS = 0x80;
const CLASS_MASK = 0xc0;
const TAGGED = { 0: 0xa0, 1: 0xa1, 3: 0xa3 } as const;

type Draft = { -readonly [Field in keyof CertificateFields]: CertificateFields[Field] };

/** Certificates never change and roots are asked on each handshake. */
const known = new WeakMap<X509Certificate, CertificateFields | Failure>();

/**
 * Reads the extensions of a certificate. Fails with IDENTITY_MALFORMED when they are not DER, an extension comes twice, or
 * one is critical and not understood (RFC 5280 section 4.2).
 */
export function fieldsOf(certificate: X509Certificate): CertificateFields | Failure {
  let fields = known.get(certificate);
  if (fields === undefined) {
    const result = read(certificate.raw);
    fields = typeof result === "string" ? fail("IDENTITY_MALFORMED", `certificate: ${result}`) : result;
    known.set(certificate, fields);
  }
  return fields;
}

/** The fields, or what is wrong. */
function read(raw: Uint8Array): CertificateFields | string {
  if (raw.length > MAX_CERTIFICATE_BYTES) return `larger than ${MAX_CERTIFICATE_BYTES} bytes`;
  const extensions = extensionsOf(raw);
  if (extensions === undefined) return "not DER";
  const draft: Draft = {
    uris: [],
    isCa: false,
    pathLength: undefined,
    keyUsage: undefined,
    extendedKeyUsage: undefined,
    permittedHosts: undefined,
    excludedHosts: [],
  };
  const seen = new Set<string>();
  for (const extension of extensions) {
    const parts = readChildren(raw, extension, 3);
    const [oid, flag] = parts ?? [];
    const value = parts?.at(-1);
    if (oid?.tag !== DER.oid || value?.tag !== DER.octetString) return "an extension is not DER";
    const name = hexOf(raw, oid);
    if (seen.has(name)) return `extension ${name} comes twice`;
    seen.add(name);
    const reader = READERS.get(name);
    const body = readElement(raw, value.start, value.end);
    if (reader === undefined) {
      if (flag !== value && raw[flag?.start ?? 0] !== 0) return `extension ${name} is critical and not understood`;
    } else if (body === undefined || body.end !== value.end || !reader(raw, body, draft)) {
      return `extension ${name} is malformed`;
    }
  }
  return draft;
}

/** Certificate → TBSCertificate → [3] → SEQUENCE OF Extension; empty when there are none. */
function extensionsOf(raw: Uint8Array): DerElement[] | undefined {
  const certificate = readElement(raw, 0, raw.length);
  if (certificate === undefined || certificate.end !== raw.length) return undefined;
  const tbs = readChildren(raw, certificate, 3)?.[0];
  const parts = tbs === undefined ? undefined : readChildren(raw, tbs, 10);
  if (parts === undefined) return undefined;
  const wrapper = parts.find((part) => part.tag === TAGGED[3]);
  if (wrapper === undefined) return [];
  const [list, ...rest] = readChildren(raw, wrapper, 2) ?? [];
  if (list?.tag !== DER.sequence || rest.length > 0) return undefined;
  return readChildren(raw, list, MAX_EXTENSIONS);
}

/** Reads one extension's value into the draft; false when it is malformed. */
type ExtensionReader = (raw: Uint8Array, body: DerElement, draft: Draft) => boolean;

const READERS: ReadonlyMap<string, ExtensionReader> = new Map<string, ExtensionReader>([
  [OID.subjectAltName, readSubjectAltName],
  [OID.basicConstraints, readBasicConstraints],
  [OID.nameConstraints, readNameConstraints],
  [OID.keyUsage, readKeyUsage],
  [OID.extendedKeyUsage, readExtendedKeyUsage],
  // Policies limit nothing for those who, like us, ask for any policy (RFC 5280 section 6.1.1 (c)).
  [OID.certificatePolicies, () => true],
]);

function readSubjectAltName(raw: Uint8Array, body: DerElement, draft: Draft): boolean {
  const names = body.tag === DER.sequence ? readChildren(raw, body, MAX_LIST) : undefined;
  if (names === undefined || !names.every((name) => (name.tag & CLASS_MASK) === CONTEXT_CLASS)) return false;
  draft.uris = names.filter((name) => name.tag === URI_NAME).map((name) => textOf(raw, name));
  return true;
}

function readBasicConstraints(raw: Uint8Array, body: DerElement, draft: Draft): boolean {
  const parts = body.tag === DER.sequence ? readChildren(raw, body, 2) : undefined;
  if (parts === undefined) return false;
  for (const part of parts) {
    const content = contentOf(raw, part);
    if (content.length !== 1) return false;
    if (part.tag === DER.boolean) draft.isCa = content[0] !== 0;
    else if (part.tag === DER.integer && (content[0] ?? 0xff) < 0x80) draft.pathLength = content[0];
    else return false;
  }
  return true;
}

function readKeyUsage(raw: Uint8Array, body: DerElement, draft: Draft): boolean {
  const [unused, bits = 0] = contentOf(raw, body);
  if (body.tag !== DER.bitString || unused === undefined || unused > 7) return false;
  draft.keyUsage = {
    digitalSignature: (bits & 0x80) !== 0,
    certSign: (bits & 0x04) !== 0,
    crlSign: (bits & 0x02) !== 0,
  };
  return true;
}

function readExtendedKeyUsage(raw: Uint8Array, body: DerElement, draft: Draft): boolean {
  const usages = body.tag === DER.sequence ? readChildren(raw, body, MAX_LIST) : undefined;
  if (usages === undefined || !usages.every((usage) => usage.tag === DER.oid)) return false;
  draft.extendedKeyUsage = usages.map((usage) => hexOf(raw, usage));
  return true;
}

/** Only URI names matter: constraints on other kinds limit names that nobody here reads. */
function readNameConstraints(raw: Uint8Array, body: DerElement, draft: Draft): boolean {
  const parts = body.tag === DER.sequence ? readChildren(raw, body, 2) : undefined;
  if (parts === undefined) return false;
  for (const part of parts) {
    const bases = readChildren(raw, part, MAX_LIST)?.map((subtree) => readChildren(raw, subtree, 3)?.[0]);
    if (bases === undefined) return false;
    const hosts: string[] = [];
    for (const base of bases) {
      if (base === undefined) return false;
      if (base.tag === URI_NAME) hosts.push(textOf(raw, base));
    }
    if (part.tag === TAGGED[0]) draft.permittedHosts = hosts.length > 0 ? hosts : undefined;
    else if (part.tag === TAGGED[1]) draft.excludedHosts = hosts;
    else return false;
  }
  return true;
}

function hexOf(raw: Uint8Array, element: DerElement): string {
  return Buffer.from(contentOf(raw, element)).toString("hex");
}

/** Latin-1, so that each byte stays one character and the grammar sees what is not ASCII. */
function textOf(raw: Uint8Array, element: DerElement): string {
  return Buffer.from(contentOf(raw, element)).toString("latin1");
}
