// Pure. The one spelling of the host that a request names.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";

/** A host as requests, routes and policies compare it. */
export interface CanonicalHost {
  /** Lower case, without port, brackets or trailing dot. */
  readonly hostname: string;
  /** `undefined` when none was sent. */
  readonly port: number | undefined;
  /** `hostname` with brackets and port as they belong: what is forwarded. */
  readonly text: string;
}

/** A host name is at most this long (RFC 1035 section 2.3.4), dots included, the last one not. */
const LONGEST_NAME = 253;
const NAME = /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/;
/** A last label such as `1` or `0x7f` makes some readers take the whole for an IPv4 address. */
const NUMERIC_TAIL = /(^|\.)(\d+|0x[0-9a-f]*)$/;
const PORT = /^[1-9]\d{0,4}$/;

/**
 * Canonicalizes `Host` (RFC 9110 section 7.2): lower case, one trailing dot cut, IP addresses in their one spelling.
 * Refused with REQUEST_MALFORMED: an empty host, userinfo, escapes, bytes outside ASCII, an empty, zero or padded port,
 * and IPv4 addresses in octal, hexadecimal, short or integer form.
 */
export function canonicalHost(raw: string): CanonicalHost | Failure {
  const cut = splitPort(raw);
  if (isFailure(cut)) return cut;
  const port = cut.port === undefined ? undefined : Number(cut.port);
  if (cut.port !== undefined && (!PORT.test(cut.port) || Number(cut.port) > 65_535)) {
    return malformed("a port from 1 to 65535 without leading zeros", raw);
  }
  if (cut.bracketed) {
    const ip = parseIp(cut.host);
    if (ip === undefined || !cut.host.includes(":")) return malformed("an IPv6 address in the brackets", raw);
    return made(ip, ip.includes(":") ? `[${ip}]` : ip, port);
  }
  const lower = cut.host.toLowerCase();
  const name = lower.endsWith(".") ? lower.slice(0, -1) : lower;
  if (name.length > LONGEST_NAME || !NAME.test(name)) return malformed("a host name or an IP address", raw);
  if (NUMERIC_TAIL.test(name) && parseIp(name) === undefined) {
    return malformed("an IPv4 address as four decimal numbers, or a name whose last label is not a number", raw);
  }
  return made(name, name, port);
}

function made(hostname: string, bare: string, port: number | undefined): CanonicalHost {
  return { hostname, port, text: port === undefined ? bare : `${bare}:${port}` };
}

interface Cut {
  readonly host: string;
  readonly bracketed: boolean;
  readonly port: string | undefined;
}

function splitPort(raw: string): Cut | Failure {
  if (raw.startsWith("[")) {
    const end = raw.indexOf("]");
    const rest = raw.slice(end + 1);
    if (end < 0 || (rest !== "" && !rest.startsWith(":")))
      return malformed("[IPv6 address] with or without :port", raw);
    return { host: raw.slice(1, end), bracketed: true, port: rest === "" ? undefined : rest.slice(1) };
  }
  const colon = raw.indexOf(":");
  if (colon < 0) return { host: raw, bracketed: false, port: undefined };
  return { host: raw.slice(0, colon), bracketed: false, port: raw.slice(colon + 1) };
}

function malformed(expected: string, found: string): Failure {
  return fail("REQUEST_MALFORMED", `the host: expected ${expected}, found ${JSON.stringify(found.slice(0, 80))}`);
}
