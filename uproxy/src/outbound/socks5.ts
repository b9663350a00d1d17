// Pure. The server's half of SOCKS5 (RFC 1928), as far as a proxy without authentication and without BIND or UDP needs.
import { fail, type Failure, type FailureCode } from "@culvert/shared/failure/failure.ts";
import { parseIp } from "@culvert/shared/net/ip.ts";
import { outcomeOf } from "./outcome.ts";
import type { Destination } from "./hop.ts";

/** The first byte of each message. */
export const SOCKS_VERSION = 5;

/** Answer to a greeting that offers "no authentication" (RFC 1928 section 3). */
export const SOCKS_NO_AUTHENTICATION: Buffer = Buffer.from([SOCKS_VERSION, 0x00]);

/** Answer to a greeting that offers nothing that we accept. */
export const SOCKS_NO_ACCEPTABLE_METHOD: Buffer = Buffer.from([SOCKS_VERSION, 0xff]);

/** A message that was read whole, and how many bytes it took; `undefined` while more bytes are needed. */
export interface Read<T> {
  readonly value: T;
  readonly consumed: number;
}

const CONNECT = 0x01;
const ADDRESS_IPV4 = 0x01;
const ADDRESS_NAME = 0x03;
const ADDRESS_IPV6 = 0x04;

/** Reads the greeting; its value says whether "no authentication" is among the offered methods. */
export function readGreeting(bytes: Buffer): Read<boolean> | undefined {
  const count = bytes[1];
  if (count === undefined || bytes.length < 2 + count) return undefined;
  return { value: bytes.subarray(2, 2 + count).includes(0x00), consumed: 2 + count };
}

/** Reads the request that follows the greeting (RFC 1928 section 4). */
export function readSocksRequest(bytes: Buffer): Read<Destination> | Failure | undefined {
  if (bytes.length < 5) return undefined;
  if (bytes[0] !== SOCKS_VERSION) return fail("PROXY_REQUEST_MALFORMED", `SOCKS version ${bytes[0]}, expected 5`);
  if (bytes[1] !== CONNECT) return fail("METHOD_REFUSED", `SOCKS command ${bytes[1]}, expected 1 (CONNECT)`);
  switch (bytes[3]) {
    case ADDRESS_IPV4:
      return bytes.length < 10 ? undefined : withPort(bytes, 10, [...bytes.subarray(4, 8)].join("."), "ip");
    case ADDRESS_IPV6:
      return bytes.length < 22 ? undefined : withPort(bytes, 22, ipv6Text(bytes.subarray(4, 20)), "ip");
    case ADDRESS_NAME: {
      const end = 5 + (bytes[4] ?? 0) + 2;
      return bytes.length < end ? undefined : withPort(bytes, end, bytes.toString("latin1", 5, end - 2), "name");
    }
    default:
      return fail("PROXY_REQUEST_MALFORMED", `SOCKS address type ${bytes[3]}, expected 1, 3 or 4`);
  }
}

function withPort(bytes: Buffer, end: number, host: string, kind: "ip" | "name"): Read<Destination> | Failure {
  const port = bytes.readUInt16BE(end - 2);
  if (port === 0) return fail("PROXY_REQUEST_MALFORMED", "port 0");
  const ip = parseIp(host);
  if (ip !== undefined) return { value: { kind: "ip", ip, port }, consumed: end };
  if (kind === "ip" || !/^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,252}[A-Za-z0-9_])?\.?$/.test(host)) {
    return fail("PROXY_REQUEST_MALFORMED", "the requested host is no address and no DNS name");
  }
  return { value: { kind: "name", host: host.toLowerCase(), port }, consumed: end };
}

function ipv6Text(bytes: Buffer): string {
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(bytes.readUInt16BE(at).toString(16));
  return groups.join(":");
}

const SUCCEEDED = 0x00;
const GENERAL_FAILURE = 0x01;
const NOT_ALLOWED = 0x02;
const HOST_UNREACHABLE = 0x04;
const CONNECTION_REFUSED = 0x05;
const TTL_EXPIRED = 0x06;
const COMMAND_NOT_SUPPORTED = 0x07;

const REPLY_OF: ReadonlyMap<FailureCode, number> = new Map([
  ["DENIED_BY_POLICY", NOT_ALLOWED],
  ["PEER_DENIED", NOT_ALLOWED],
  ["EGRESS_REFUSED", NOT_ALLOWED],
  ["METHOD_REFUSED", COMMAND_NOT_SUPPORTED],
  ["APP_REFUSED", CONNECTION_REFUSED],
  ["PEER_REFUSED", CONNECTION_REFUSED],
  ["PEER_UNAVAILABLE", CONNECTION_REFUSED],
  ["NO_HEALTHY_UPSTREAM", HOST_UNREACHABLE],
  ["WAYPOINT_UNAVAILABLE", HOST_UNREACHABLE],
  ["DESTINATION_UNKNOWN", HOST_UNREACHABLE],
  ["APP_UNREACHABLE", HOST_UNREACHABLE],
  ["PEER_UNREACHABLE", HOST_UNREACHABLE],
  ["APP_TIMEOUT", TTL_EXPIRED],
  ["PEER_TIMEOUT", TTL_EXPIRED],
]);

/** The reply to a request (RFC 1928 section 6): success, or the reply code that is nearest to the failure. */
export function socksReply(failure: Failure | undefined): Buffer {
  const code = failure === undefined ? SUCCEEDED : (REPLY_OF.get(outcomeOf(failure)) ?? GENERAL_FAILURE);
  return Buffer.from([SOCKS_VERSION, code, 0x00, ADDRESS_IPV4, 0, 0, 0, 0, 0, 0]);
}
