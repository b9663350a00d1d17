// Pure. IP addresses and CIDR blocks in one canonical form. No other file parses an address.
import { isIPv4, isIPv6, SocketAddress } from "node:net";

declare const ip: unique symbol;

/**
 * An IP address in canonical text: dotted quad for IPv4, RFC 5952 for IPv6, and an IPv4-mapped IPv6 address always as
 * its IPv4 self, so that one address has one spelling. Made by `parseIp` alone.
 */
export type Ip = string & { readonly [ip]: true };

/** An IP network: all addresses that share the first `bits` bits. */
export interface Cidr {
  readonly family: 4 | 6;
  readonly bytes: Uint8Array;
  readonly bits: number;
  /** Canonical text, for logs. */
  readonly text: string;
}

/** The address that stands for none: of a caller whose address is not known. */
export const UNSPECIFIED_IP: Ip = "0.0.0.0" as Ip;

/**
 * Reads an IP address. Refused (`undefined`): octal, hexadecimal, integer and short IPv4 forms, zones, brackets, ports.
 */
export function parseIp(text: string): Ip | undefined {
  if (isIPv4(text)) return text as Ip;
  // Names go no further: Node makes its pattern of IPv6 when first asked, which takes some milliseconds of a start.
  if (!text.includes(":") || text.includes("%") || !isIPv6(text)) return undefined;
  const canonical = new SocketAddress({ address: text, family: "ipv6" }).address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(canonical);
  return (mapped?.[1] ?? canonical) as Ip;
}

/** The family of an address. */
export function ipFamily(address: Ip): 4 | 6 {
  return address.includes(":") ? 6 : 4;
}

/** Whether only this host can reach the address: 127.0.0.0/8 or ::1. */
export function isLoopback(address: Ip): boolean {
  return address === "::1" || address.startsWith("127.");
}

/**
 * Whether an address means this host or its link alone: unspecified (RFC 6890), loopback, link-local, where clouds hand out
 * their hosts' credentials, and multicast.
 */
export function isHostOnly(address: Ip): boolean {
  if (isLoopback(address)) return true;
  const bytes = ipBytes(address);
  const [first = 0, second = 0] = bytes;
  if (bytes.length === 4) return first === 0 || (first === 169 && second === 254) || first >= 224;
  return address === "::" || (first === 0xfe && (second & 0xc0) === 0x80) || first === 0xff;
}

/** The address in network byte order: 4 or 16 bytes. */
export function ipBytes(address: Ip): Uint8Array {
  if (ipFamily(address) === 4) return Uint8Array.from(address.split("."), Number);
  const bytes = new Uint8Array(16);
  const [head = "", tail] = address.split("::");
  const left = groups(head);
  bytes.set(left, 0);
  if (tail !== undefined) {
    const right = groups(tail);
    bytes.set(right, 16 - right.length);
  }
  return bytes;
}

/**
 * Reads a CIDR block or a plain address (all bits then count). Bits set below the prefix are allowed and ignored, as
 * Istio does; an IPv4-mapped block is its IPv4 self. `undefined` when it is neither.
 */
export function parseCidr(text: string): Cidr | undefined {
  const [addressText = "", bitsText, ...rest] = text.split("/");
  const address = parseIp(addressText);
  if (address === undefined || rest.length > 0) return undefined;
  const family = ipFamily(address);
  // `::ffff:10.0.0.0/104` counts its bits from the front of the IPv6 form.
  const mappedBits = family === 4 && addressText.includes(":") ? 96 : 0;
  const allBits = family === 4 ? 32 : 128;
  let bits = allBits;
  if (bitsText !== undefined) {
    if (!/^(0|[1-9]\d{0,2})$/.test(bitsText)) return undefined;
    bits = Number(bitsText) - mappedBits;
    if (bits < 0 || bits > allBits) return undefined;
  }
  const bytes = ipBytes(address).map((byte, index) => byte & maskByte(bits - index * 8));
  return { family, bytes, bits, text: `${ipText(bytes)}/${bits}` };
}

/** Whether an address lies in a block. Blocks of one family hold no address of the other. */
export function cidrContains(block: Cidr, address: Ip): boolean {
  if (ipFamily(address) !== block.family) return false;
  const bytes = ipBytes(address);
  for (let index = 0; index * 8 < block.bits; index += 1) {
    if (((bytes[index] ?? 0) & maskByte(block.bits - index * 8)) !== block.bytes[index]) return false;
  }
  return true;
}

/** `host:port`, an IPv6 address in brackets (RFC 3986 section 3.2.2). */
export function formatHostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The byte of a netmask of which `bits` bits remain. */
function maskByte(bits: number): number {
  if (bits >= 8) return 0xff;
  return bits <= 0 ? 0 : (0xff << (8 - bits)) & 0xff;
}

/** The bytes of colon-separated hexadecimal groups, of which the last may be a dotted quad. */
function groups(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

/** Canonical text of 4 or 16 bytes. */
function ipText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const pairs = Array.from({ length: 8 }, (_, index) =>
    (((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0)).toString(16),
  );
  return new SocketAddress({ address: pairs.join(":"), family: "ipv6" }).address;
}
