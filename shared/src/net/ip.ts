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

/**
 * Reads an IP address. Refused (`undefined`): octal, hexadecimal, integer and short IPv4 forms, zones, brackets, ports.
 */
export function parseIp(text: string): Ip | undefined {
  if (isIPv4(text)) return text as Ip;
  if (text.includes("%") || !isIPv6(text)) return undefined;
  const canonical = new SocketAddress({ address: text, family: "ipv6" }).address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(canonical);
  return (mapped?.[1] ?? canonical) as Ip;
}
