// Pure. The header fields that tunnel requests carry beside the authority: `forwarded` (RFC 7239), `baggage` (W3C, with
// Istio's keys) and `traceparent`. They inform logs and metrics; no decision may ever rest on them, for any peer can write
// what it likes.
import { randomFillSync } from "node:crypto";
import { formatHostPort } from "../net/ip.ts";

/** Longest field value that is looked at; longer ones count as absent. */
const MAX_VALUE = 8_192;
/** Members of one `baggage`: Istio's proxies send at most eight. */
const MAX_MEMBERS = 32;
/** Longest key or value of a member: a Kubernetes name has at most 253 characters. */
const MAX_MEMBER = 256;

/** A member that can be written without escaping, which ztunnel does not know. */
const PLAIN_MEMBER = /^[\x21\x23-\x2b\x2d-\x3a\x3c\x3e-\x5b\x5d-\x7e]+$/;
/** Pairs of one element of `forwarded` that are looked at: the standard defines four. */
const MAX_PAIRS = 8;
const HOST_NAME = /^[a-z0-9]([a-z0-9._-]{0,252})$/i;
/** version 00, a trace id and a parent id that are not all zero, flags (W3C Trace Context section 3.2). */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

const TRACE_ID_BYTES = 16;
const PARENT_ID_BYTES = 8;
/** Random bytes for the ids of many connections: asking for those of one at a time costs ten times the rest of its header fields. */
const random = Buffer.allocUnsafeSlow(128 * (TRACE_ID_BYTES + PARENT_ID_BYTES));
let randomAt = random.length;

/** What the opener of a tunnel says about the connection that it carries. */
export interface TunnelOrigin {
  readonly clientAddress: string;
  readonly clientPort: number;
  /** Host name of the service, when the client resolved one. */
  readonly serviceHost?: string | undefined;
  /** Written by `formatBaggage`. */
  readonly baggage?: string | undefined;
  readonly traceparent?: string | undefined;
}

/**
 * The header fields of a tunnel request. A client without an address (port 0) is `unknown` (RFC 7239 section 6.2).
 */
export function tunnelHeaders(origin: TunnelOrigin): Record<string, string> {
  const host = origin.serviceHost === undefined ? "" : `;host=${origin.serviceHost}`;
  const { clientAddress, clientPort } = origin;
  const client = clientPort === 0 ? "unknown" : `"${formatHostPort(clientAddress, clientPort)}"`;
  const headers: Record<string, string> = { forwarded: `for=${client}${host}` };
  if (origin.baggage !== undefined && origin.baggage !== "") headers["baggage"] = origin.baggage;
  if (origin.traceparent !== undefined) headers["traceparent"] = origin.traceparent;
  return headers;
}

/** Writes baggage as ztunnel does: `key=value,key=value`. Members that are empty or need escaping are left out. */
export function formatBaggage(members: ReadonlyMap<string, string>): string {
  const written: string[] = [];
  for (const [key, value] of members) {
    if (PLAIN_MEMBER.test(key) && PLAIN_MEMBER.test(value)) written.push(`${key}=${value}`);
  }
  return written.join(",");
}

/**
 * The host in the first element of a `forwarded` field; `undefined` where it is malformed, or said twice, or the field is over-long.
 */
export function forwardedHost(value: string | undefined): string | undefined {
  if (value === undefined || value.length > MAX_VALUE) return undefined;
  let host: string | undefined;
  for (const pair of (value.split(",", 1)[0] ?? "").split(";", MAX_PAIRS)) {
    const equals = pair.indexOf("=");
    if (pair.slice(0, Math.max(0, equals)).trim().toLowerCase() !== "host") continue;
    if (host !== undefined) return undefined;
    host = unquote(pair.slice(equals + 1).trim());
  }
  return host !== undefined && HOST_NAME.test(host) ? host : undefined;
}

/** Reads `baggage` lines: the first value of each key, bounded in number and length; properties after `;` are dropped. */
export function parseBaggage(lines: string | readonly string[] | undefined): ReadonlyMap<string, string> {
  const members = new Map<string, string>();
  const text = typeof lines === "string" ? lines : (lines ?? []).join(",");
  if (text.length > MAX_VALUE) return members;
  for (const member of text.split(",", MAX_MEMBERS)) {
    const equals = member.indexOf("=");
    if (equals <= 0) continue;
    const key = member.slice(0, equals).trim();
    const value = (member.slice(equals + 1).split(";", 1)[0] ?? "").trim();
    if (key === "" || value === "" || key.length > MAX_MEMBER || value.length > MAX_MEMBER) continue;
    if (!members.has(key)) members.set(key, value);
  }
  return members;
}

/** A `traceparent` of version 00, or `undefined`. */
export function parseTraceparent(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === "string" && TRACEPARENT.test(value) ? value : undefined;
}

/** A `traceparent` that begins a trace, not sampled: it lets the logs of both ends be joined. */
export function newTraceparent(): string {
  if (randomAt === random.length) {
    randomFillSync(random);
    randomAt = 0;
  }
  const parentAt = randomAt + TRACE_ID_BYTES;
  const endAt = parentAt + PARENT_ID_BYTES;
  const [trace, parent] = [random.toString("hex", randomAt, parentAt), random.toString("hex", parentAt, endAt)];
  randomAt = endAt;
  return `00-${trace}-${parent}-00`;
}

function unquote(text: string): string {
  return text.length >= 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
}
