// Pure. A writer of DER (X.690 section 10): just enough for certificates and requests for them.
import { DER } from "./der.ts";

const LONG_LENGTH = 0x80;
const HIGH_BIT = 0x80;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
/** RFC 5280 section 4.1.2.5: from this year on times have four digits of the year. */
const GENERALIZED_FROM = 2050;

/** An element of this identifier octet with these contents, one after the other. */
export function derElement(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  if (content.length < LONG_LENGTH) return Buffer.concat([Buffer.of(tag, content.length), content]);
  const octets: number[] = [];
  for (let rest = content.length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest % 256);
  return Buffer.concat([Buffer.of(tag, LONG_LENGTH | octets.length, ...octets), content]);
}

/** A SEQUENCE. */
export function derSequence(...contents: readonly Uint8Array[]): Buffer {
  return derElement(DER.sequence, ...contents);
}

/** An INTEGER that is not negative, from its octets, most significant first. */
export function derInteger(octets: Uint8Array): Buffer {
  const from = octets.findIndex((octet) => octet !== 0);
  const magnitude = from === -1 ? Buffer.of(0) : octets.subarray(from);
  const sign = ((magnitude[0] ?? 0) & HIGH_BIT) === 0 ? [] : [0];
  return derElement(DER.integer, Buffer.from(sign), magnitude);
}

/** An OBJECT IDENTIFIER from the hex of its content, as `CertificateFields` and others have it. */
export function derOid(hex: string): Buffer {
  return derElement(DER.oid, Buffer.from(hex, "hex"));
}

/** A BIT STRING of whole octets. */
export function derBitString(octets: Uint8Array): Buffer {
  return derElement(DER.bitString, Buffer.of(0), octets);
}

/** An OCTET STRING. */
export function derOctetString(...contents: readonly Uint8Array[]): Buffer {
  return derElement(DER.octetString, ...contents);
}

/** A Time (RFC 5280 section 4.1.2.5) of whole seconds, from milliseconds since the epoch. */
export function derTime(ms: number): Buffer {
  const date = new Date(ms);
  const digits = date.toISOString().replaceAll(/[-:T]|\.\d+/g, "");
  const isShort = date.getUTCFullYear() < GENERALIZED_FROM;
  return derElement(isShort ? UTC_TIME : GENERALIZED_TIME, Buffer.from(isShort ? digits.slice(2) : digits));
}

/** An extension of a certificate (RFC 5280 section 4.1). */
export function derExtension(oid: string, isCritical: boolean, value: Uint8Array): Buffer {
  const critical = isCritical ? derElement(DER.boolean, Buffer.of(0xff)) : Buffer.of();
  return derSequence(derOid(oid), critical, derOctetString(value));
}
