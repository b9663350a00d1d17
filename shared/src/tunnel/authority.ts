// Pure. The `:authority` of a tunnel request (RFC 9110 section 9.3.6: host and port, nothing else), read strictly.
// `URL` is never used for this: it turns `0177.0.0.1` into `127.0.0.1` and forgets port 80.
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { parseIp } from "../net/ip.ts";
import type { Ip } from "../net/ip.ts";

declare const authority: unique symbol;

/** Where a tunnel wants to go. Made by `parseAuthority` alone. */
export type Authority = (
  | { readonly kind: "ip"; readonly host: Ip; readonly port: number }
  | { readonly kind: "name"; readonly host: string; readonly port: number }
) & { readonly [authority]: true };

/** The longest host name in text (RFC 1035 section 2.3.4), also the bound of everything that stands before the port. */
const MAX_HOST = 253;

/** One label: letters, digits, hyphen inside; the underscore because compose files and SRV names use it. */
const LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** A last label that resolvers and browsers read as a number: octal, hexadecimal, integer and short IPv4 forms. */
const NUMERIC_LABEL = /^(?:[0-9]+|0x[0-9a-f]*)$/;

/** No leading zero, so that one port has one spelling, and no zero. */
const PORT = /^[1-9][0-9]{0,4}$/;

/**
 * Reads `host:port`. Hosts are IPv4 in four decimal parts, IPv6 in brackets, or a DNS name, which is returned in lower
 * case. Everything that could be read two ways is refused with AUTHORITY_MALFORMED: octal, hexadecimal, integer and
 * short IPv4, IPv4 inside IPv6, zones, user information, paths, a missing, zero or padded port, a trailing dot.
 */
export function parseAuthority(text: string): Authority | Failure {
  const colon = text.lastIndexOf(":");
  if (colon < 0) return malformed(text, "no port");
  const host = text.slice(0, colon);
  const port = Number(text.slice(colon + 1));
  if (!PORT.test(text.slice(colon + 1)) || port > 65_535) return malformed(text, "not a port from 1 to 65535");
  if (host === "" || host.length > MAX_HOST) return malformed(text, "no host, or one that is too long");
  if (host.startsWith("[")) {
    const inner = host.slice(1, -1);
    const ip = host.endsWith("]") && !inner.includes(".") ? parseIp(inner) : undefined;
    // `parseIp` turns the mapped form into IPv4: behind brackets that is a second spelling of the same host.
    if (ip === undefined || !ip.includes(":")) return malformed(text, "not an IPv6 address in brackets");
    return { kind: "ip", host: ip, port } as Authority;
  }
  const ip = host.includes(":") ? undefined : parseIp(host);
  if (ip !== undefined) return { kind: "ip", host: ip, port } as Authority;
  const name = host.toLowerCase();
  if (!isHostName(name)) return malformed(text, "not an IPv4 address or a DNS name");
  return { kind: "name", host: name, port } as Authority;
}

function isHostName(name: string): boolean {
  const labels = name.split(".");
  return labels.every((label) => LABEL.test(label)) && !NUMERIC_LABEL.test(labels.at(-1) ?? "");
}

function malformed(text: string, found: string): Failure {
  return fail("AUTHORITY_MALFORMED", `${found}: ${JSON.stringify(text.slice(0, 280))}`);
}
