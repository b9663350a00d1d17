// Pure. By which group the keys of a TLS 1.3 session were agreed. The runtime says it at the client's end only; at the server's
// it stands in OpenSSL's own record of the session, as field 19.
import type { TLSSocket } from "node:tls";
import { contentOf, readChildren, readElement } from "./der.ts";

/** Names of the groups that are offered here, by their number (RFC 8446 section 4.2.7, draft-ietf-tls-ecdhe-mlkem). */
const GROUPS: ReadonlyMap<number, string> = new Map([
  [0x0017, "P-256"],
  [0x001d, "X25519"],
  [0x11ec, "X25519MLKEM768"],
]);

/** The names. */
export const KEY_GROUPS: readonly string[] = [...GROUPS.values()];

/** The runtime calls curves by OpenSSL's names. */
const RUNTIME_NAMES: ReadonlyMap<string, string> = new Map([["prime256v1", "P-256"]]);

/** [19] of OpenSSL's SSL_SESSION_ASN1. */
const GROUP_FIELD = 0xb3;
const MAX_FIELDS = 32;

/** The group of a socket whose handshake has ended; `undefined` where neither way tells it. */
export function keyGroupOf(socket: TLSSocket): string | undefined {
  const info = socket.getEphemeralKeyInfo();
  if (info === null) return groupOfSession(socket.getSession());
  const { name } = info as { readonly name?: string };
  return name === undefined ? undefined : (RUNTIME_NAMES.get(name) ?? name);
}

/**
 * Reads the group from a session as `tls.TLSSocket.getSession` gives it, which holds secrets: it is wiped. `undefined` when
 * the record is not of the form that is known.
 */
export function groupOfSession(session: Buffer | undefined): string | undefined {
  if (session === undefined) return undefined;
  const whole = readElement(session, 0, session.length);
  const fields = whole === undefined ? undefined : readChildren(session, whole, MAX_FIELDS);
  const field = fields?.find(({ tag }) => tag === GROUP_FIELD);
  const number = field === undefined ? undefined : readElement(session, field.start, field.end);
  const octets = number === undefined ? undefined : contentOf(session, number);
  let group: number | undefined;
  if (octets !== undefined && octets.length > 0 && octets.length <= 3) {
    group = octets.reduce((value, octet) => value * 256 + octet, 0);
  }
  session.fill(0);
  return group === undefined ? undefined : (GROUPS.get(group) ?? `0x${group.toString(16).padStart(4, "0")}`);
}
