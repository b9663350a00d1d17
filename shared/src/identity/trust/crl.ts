// Pure. Reads one certificate revocation list (RFC 5280 section 5) from DER. Nothing is proven by it: whose list it is says its
// signature, which is checked against an issuer (`revoked.ts`).
import { hash } from "node:crypto";
import { fail } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { DER, contentOf, readChildren, readElement } from "../der.ts";
import type { DerElement } from "../der.ts";
import type { RevocationList } from "../source.ts";
import { serialOf } from "./revoked.ts";

/** A hundred thousand entries are three megabytes and take some tenths of a second; a mesh revokes a few. */
const MAX_CRL_BYTES = 4 * 1024 * 1024;
const MAX_ENTRIES = 100_000;
const MAX_EXTENSIONS = 32;
/** RFC 5280 section 5.2.3: a CRL number has no more than 20 octets. */
const MAX_NUMBER_OCTETS = 20;

const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const EXPLICIT_EXTENSIONS = 0xa0;
const KEY_IDENTIFIER = 0x80;

const OID = { crlNumber: "551d14", authorityKeyIdentifier: "551d23" } as const;

/**
 * Reads a list. What is well-formed but would need more than a look at the serial number is refused as a whole: a delta list,
 * one for another issuer's certificates, and whatever else is critical. Fails with IDENTITY_MALFORMED.
 */
export function revocationListFromDer(der: Uint8Array): RevocationList | Failure {
  const result = read(der);
  return typeof result === "string" ? fail("IDENTITY_MALFORMED", `revocation list: ${result}`) : result;
}

function read(der: Uint8Array): RevocationList | string {
  if (der.length > MAX_CRL_BYTES) return `larger than ${MAX_CRL_BYTES} bytes`;
  const whole = readElement(der, 0, der.length);
  if (whole === undefined || whole.end !== der.length || whole.tag !== DER.sequence) return "not DER";
  const [tbs, algorithm, signature, ...more] = readChildren(der, whole, 3) ?? [];
  if (tbs === undefined || algorithm === undefined || signature === undefined || more.length > 0) return "not DER";
  if (tbs.tag !== DER.sequence || signature.tag !== DER.bitString || der[signature.start] !== 0) return "not DER";
  const parts = readChildren(der, tbs, 7);
  if (parts === undefined) return "not DER";
  const version = parts[0]?.tag === DER.integer ? parts.shift() : undefined;
  const [inner, issuer, thisUpdate] = parts.splice(0, 3);
  if (inner === undefined || issuer?.tag !== DER.sequence || thisUpdate === undefined) return "it lacks a field";
  if (!bytesOf(der, inner).equals(bytesOf(der, algorithm))) return "it names two signature algorithms";
  const oid = readChildren(der, algorithm, 2)?.[0];
  const from = timeOf(der, thisUpdate);
  if (oid?.tag !== DER.oid || from === undefined) return "it lacks a field";
  const nextUpdate = isTime(parts[0]) ? parts.shift() : undefined;
  const until = nextUpdate === undefined ? undefined : timeOf(der, nextUpdate);
  if (nextUpdate !== undefined && until === undefined) return "nextUpdate is no time";
  const revoked = parts[0]?.tag === DER.sequence ? parts.shift() : undefined;
  const wrapper = parts.shift();
  if (parts.length > 0 || (wrapper !== undefined && wrapper.tag !== EXPLICIT_EXTENSIONS))
    return "it has further fields";
  // Extensions came with version 2, and what has them must say so (RFC 5280 section 5.1.2.1).
  if (wrapper !== undefined && version === undefined) return "it has extensions and is of version 1";
  const extensions = wrapper === undefined ? NO_EXTENSIONS : readExtensions(der, wrapper);
  if (typeof extensions === "string") return extensions;
  const serials = revoked === undefined ? new Set<string>() : readEntries(der, revoked);
  if (typeof serials === "string") return serials;
  return {
    issuer: bytesOf(der, issuer).toString("hex"),
    issuerKey: extensions.keyIdentifier,
    serials,
    number: extensions.number,
    thisUpdate: from,
    nextUpdate: until,
    digest: hash("sha256", der),
    signed: {
      content: der.subarray(tbs.from, tbs.end),
      signature: der.subarray(signature.start + 1, signature.end),
      algorithm: Buffer.from(contentOf(der, oid)).toString("hex"),
    },
  };
}

interface Extensions {
  readonly number: bigint | undefined;
  readonly keyIdentifier: string | undefined;
}

const NO_EXTENSIONS: Extensions = { number: undefined, keyIdentifier: undefined };

function readExtensions(der: Uint8Array, wrapper: DerElement): Extensions | string {
  const [list, ...rest] = readChildren(der, wrapper, 2) ?? [];
  const extensions = list === undefined ? undefined : readChildren(der, list, MAX_EXTENSIONS);
  if (extensions === undefined || rest.length > 0) return "its extensions are not DER";
  let { number, keyIdentifier } = NO_EXTENSIONS;
  for (const extension of extensions) {
    const { name, critical, value } = readExtension(der, extension) ?? {};
    if (name === undefined || value === undefined) return "an extension is not DER";
    if (name === OID.crlNumber) {
      const integer = readElement(der, value.start, value.end);
      const octets = integer?.tag === DER.integer ? integer.end - integer.start : 0;
      if (integer === undefined || octets === 0 || octets > MAX_NUMBER_OCTETS) return "its number is malformed";
      number = BigInt(`0x${serialOf(der, integer)}`);
    } else if (name === OID.authorityKeyIdentifier) {
      const body = readElement(der, value.start, value.end);
      const key = body === undefined ? undefined : readChildren(der, body, 3)?.[0];
      if (key?.tag === KEY_IDENTIFIER) keyIdentifier = Buffer.from(contentOf(der, key)).toString("hex");
    } else if (critical === true) return `extension ${name} is critical and not understood`;
  }
  return { number, keyIdentifier };
}

/** The serial numbers; read one by one, for the entries are many and each is a few bytes. */
function readEntries(der: Uint8Array, revoked: DerElement): ReadonlySet<string> | string {
  const serials = new Set<string>();
  for (let offset = revoked.start; offset < revoked.end;) {
    const entry = readElement(der, offset, revoked.end);
    if (entry === undefined || entry.tag !== DER.sequence) return "an entry is not DER";
    const serial = readElement(der, entry.start, entry.end);
    const date = serial?.tag === DER.integer ? readElement(der, serial.end, entry.end) : undefined;
    if (serial === undefined || serial.start === serial.end || date === undefined || !isTime(date))
      return "an entry is not DER";
    if (date.end < entry.end) {
      const problem = entryProblem(der, date.end, entry.end);
      if (problem !== undefined) return problem;
    }
    if (serials.size >= MAX_ENTRIES) return `it has more than ${MAX_ENTRIES} entries`;
    serials.add(serialOf(der, serial));
    offset = entry.end;
  }
  return serials;
}

/** Reasons and dates do not matter; what is critical could say that the entry is another issuer's. */
function entryProblem(der: Uint8Array, start: number, end: number): string | undefined {
  const list = readElement(der, start, end);
  const extensions = list?.end === end ? readChildren(der, list, MAX_EXTENSIONS) : undefined;
  if (extensions === undefined) return "an entry is not DER";
  for (const extension of extensions) {
    const found = readExtension(der, extension);
    if (found === undefined) return "an entry is not DER";
    if (found.critical) return `extension ${found.name} of an entry is critical and not understood`;
  }
  return undefined;
}

function readExtension(
  der: Uint8Array,
  extension: DerElement,
): { readonly name: string; readonly critical: boolean; readonly value: DerElement } | undefined {
  const parts = readChildren(der, extension, 3);
  const [oid, flag] = parts ?? [];
  const value = parts?.at(-1);
  if (oid?.tag !== DER.oid || value?.tag !== DER.octetString) return undefined;
  const name = Buffer.from(contentOf(der, oid)).toString("hex");
  return { name, critical: flag !== value && der[flag?.start ?? 0] !== 0, value };
}

function isTime(element: DerElement | undefined): boolean {
  return element?.tag === UTC_TIME || element?.tag === GENERALIZED_TIME;
}

/** RFC 5280 section 4.1.2.5: both forms in UTC with seconds; two digits of a year are of 1950 to 2049. */
function timeOf(der: Uint8Array, element: DerElement): number | undefined {
  if (!isTime(element)) return undefined;
  const text = Buffer.from(contentOf(der, element)).toString("latin1");
  const digits = element.tag === UTC_TIME ? `${text.slice(0, 2) < "50" ? "20" : "19"}${text}` : text;
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits) ?? [];
  const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(time) ? undefined : time;
}

function bytesOf(der: Uint8Array, element: DerElement): Buffer {
  return Buffer.from(der.buffer, der.byteOffset + element.from, element.end - element.from);
}
