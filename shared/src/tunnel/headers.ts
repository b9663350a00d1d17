// Pure. The header fields that tunnel requests carry beside the authority: `forwarded` (RFC 7239), `baggage` (W3C, with
// Istio's keys) and `traceparent`. They inform logs and metrics; no decision may ever rest on them, for any peer can write
// what it likes.
import { randomUUID } from "node:crypto";
import type { Endpoint } from "../net/endpoint.ts";
import { parseIp } from "../net/ip.ts";
import { formatAuthority } from "./authority.ts";

/** Longest field value that is looked at; longer ones count as absent. */
const MAX_VALUE = 8_192;
/** Members of one `baggage`: Istio's proxies send at most eight. */
const MAX_MEMBERS = 32;
/** Longest key or value of a member: a Kubernetes name has at most 253 characters. */
const MAX_MEMBER = 256;

/** A member that can be written without escaping, which ztunnel does not know. */
const PLAIN_MEMBER = /^[\x21\x23-\x2b\x2d-\x3a\x3c\x3e-\x5b\x5d-\x7e]+$/;
const HOST_NAME = /^[a-z0-9]([a-z0-9._-]{0,252})$/i;
/** version 00, a trace id and a parent id that are not all zero, flags (W3C Trace Context section 3.2). */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** What the opener of a tunnel says about the connection that it carries. */
export interface TunnelOrigin {
  readonly clientAddress: string;
  readonly clientPort: number;
  /** Host name of the service, when the client resolved one. */
  readonly serviceHost?: string | undefined;
  readonly baggage?: ReadonlyMap<string, string> | undefined;
  readonly traceparent?: string | undefined;
}

/**
 * The header fields of a tunnel request. Members of baggage that are empty or need escaping are left out; a client without
 * an address (port 0) is `unknown` (RFC 7239 section 6.2).
 */
export function tunnelHeaders(origin: TunnelOrigin): Record<string, string> {
  const host = origin.serviceHost === undefined ? "" : `;host=${origin.serviceHost}`;
  const { clientAddress, clientPort } = origin;
  const client = clientPort === 0 ? "unknown" : `"${formatAuthority(clientAddress, clientPort)}"`;
  const headers: Record<string, string> = { forwarded: `for=${client}${host}` };
  const baggage = origin.baggage === undefined ? "" : formatBaggage(origin.baggage);
  if (baggage !== "") headers["baggage"] = baggage;
  if (origin.traceparent !== undefined) headers["traceparent"] = origin.traceparent;
  return headers;
}

/** Writes baggage as ztunnel does: `key=value,key=value`. */
export function formatBaggage(members: ReadonlyMap<string, string>): string {
  const written: string[] = [];
  for (const [key, value] of members) {
    if (PLAIN_MEMBER.test(key) && PLAIN_MEMBER.test(value)) written.push(`${key}=${value}`);
  }
  return written.join(",");
}

/** What a `forwarded` field says; each part only if it is well-formed. */
export interface Forwarded {
  readonly for: Endpoint | undefined;
  readonly host: string | undefined;
}

/** Reads the first element of a `forwarded` field. Malformed parts, repeated parts and over-long fields count as absent. */
export function parseForwarded(value: string | undefined): Forwarded {
  const found = new Map<string, string | undefined>();
  if (value !== undefined && value.length <= MAX_VALUE) {
    for (const pair of (value.split(",", 1)[0] ?? "").split(";", 8)) {
      const equals = pair.indexOf("=");
      const key = pair.slice(0, Math.max(0, equals)).trim().toLowerCase();
      found.set(key, found.has(key) ? undefined : unquote(pair.slice(equals + 1).trim()));
    }
  }
  const host = found.get("host");
  return { for: forEndpoint(found.get("for")), host: host !== undefined && HOST_NAME.test(host) ? host : undefined };
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
  const [trace, parent] = [randomUUID().replaceAll("-", ""), randomUUID().replaceAll("-", "").slice(0, 16)];
  return `00-${trace}-${parent}-00`;
}

function forEndpoint(text: string | undefined): Endpoint | undefined {
  const match = text === undefined ? null : /^(?:\[([0-9a-f:.]{2,45})\]|([0-9.]{7,15})):([1-9][0-9]{0,4})$/i.exec(text);
  if (match === null) return undefined;
  const ip = parseIp(match[1] ?? match[2] ?? "");
  const port = Number(match[3]);
  return ip === undefined || port > 65_535 ? undefined : { ip, port };
}

function unquote(text: string): string {
  return text.length >= 2 && text.startsWith('"') && text.endsWith('"') ? text.slice(1, -1) : text;
}
