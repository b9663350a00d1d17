// Pure. The opening handshake of WebSocket as far as a hop takes part in it. HTTP/1.1 proves by a key that an answer belongs to the
// handshake (RFC 6455 section 4); HTTP/2 has no key (RFC 8441 section 5), so whoever stands between the two makes it and checks it.
import { createHash } from "node:crypto";
import { fieldValues } from "../filter/field-lines.ts";

/** Value of `Upgrade` and of `:protocol`. */
export const WEBSOCKET = "websocket";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** What proves that an answer is to the handshake with `key`. */
export function websocketAccept(key: string): string {
  return createHash("sha1")
    .update(key + GUID)
    .digest("base64");
}

/** The one key in field lines; `undefined` when there is none, or more than one. */
export function websocketKey(fields: string): string | undefined {
  const [key, ...others] = fieldValues(fields, "sec-websocket-key");
  return others.length === 0 ? key : undefined;
}

/** Whether field lines hold exactly this proof. */
export function isAccepted(fields: string, accept: string): boolean {
  const values = fieldValues(fields, "sec-websocket-accept");
  return values.length === 1 && values[0] === accept;
}
