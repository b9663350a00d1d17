// Pure. Where a listener is bound, as configuration writes it: `host:port`, `:port`, a bare port, or `unix:/path`.
import { parseIp, isLoopback } from "./ip.ts";

/** A TCP address to listen on. */
export interface ListenAddress {
  readonly kind: "tcp";
  /** An IP address or a host name; `""` is every interface, IPv6 and IPv4. */
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
}

/** A UNIX socket to listen on. */
export interface UnixAddress {
  readonly kind: "unix";
  /** Absolute path. */
  readonly path: string;
}

/** Longest path of a socket: 107 bytes are the kernel's, and it is bound under a longer name before it is moved into place. */
export const MAX_SOCKET_PATH = 95;

/** Reads `unix:/path` or `unix:///path`; `undefined` when it is neither, or too long for a socket. */
export function parseUnixAddress(value: string): UnixAddress | undefined {
  const path = /^unix:(?:\/\/)?(\/[^/\0](?:[^\0]*[^/\0])?)$/.exec(value)?.[1];
  return path === undefined || Buffer.byteLength(path) > MAX_SOCKET_PATH ? undefined : { kind: "unix", path };
}

/**
 * Reads `host:port` (IPv6 in brackets), `:port` (all interfaces) or a bare port, as text or number.
 * `undefined` when it is none of these.
 */
export function parseListenAddress(value: string | number): ListenAddress | undefined {
  if (typeof value === "number") return listen("", value);
  const parts = splitHostPort(value);
  if (parts === undefined) return /^\d{1,5}$/.test(value) ? listen("", Number(value)) : undefined;
  return listen(parts.host, parts.port);
}

/** Splits `host:port` or `[ipv6]:port`; the host may be empty, an IP address or a DNS name. */
export function splitHostPort(text: string): { readonly host: string; readonly port: number } | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^\s:[\]/@]*)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain, digits] = match;
  const port = Number(digits);
  if (port > 65535) return undefined;
  if (bracketed !== undefined) {
    const ip = parseIp(bracketed);
    return ip === undefined ? undefined : { host: ip, port };
  }
  const host = plain === "" ? "" : parseHost(plain ?? "");
  return host === undefined ? undefined : { host, port };
}

/**
 * Reads a host: an IP address (answered in canonical form, without brackets) or a DNS name of at most 253 characters,
 * underscores allowed as resolvers do. A name of digits and dots alone can only be a mistyped address: `undefined`.
 */
export function parseHost(text: string): string | undefined {
  const ip = parseIp(text);
  if (ip !== undefined) return ip;
  if (text.length > 253 || /^[\d.]+$/.test(text)) return undefined;
  const labels = text.split(".");
  return labels.every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label)) ? text : undefined;
}

/** Whether an address can only be reached from this host: 127.0.0.0/8, ::1 or the name `localhost`. */
export function isLoopbackHost(host: string): boolean {
  if (host.toLowerCase() === "localhost") return true;
  const ip = parseIp(host);
  return ip !== undefined && isLoopback(ip);
}

function listen(host: string, port: number): ListenAddress | undefined {
  return Number.isInteger(port) && port >= 0 && port <= 65535 ? { kind: "tcp", host, port } : undefined;
}
