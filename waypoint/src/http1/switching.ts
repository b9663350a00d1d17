// Machine. The words by which HTTP/1.1 switches to another protocol: what is asked of an application and what it must answer, and what
// a client is told. What is in `../http/websocket.ts` is made here where the other side, of HTTP/2, has none of it.
import { randomBytes } from "node:crypto";
import { fieldValues } from "../filter/field-lines.ts";
import { isAccepted, WEBSOCKET, websocketAccept, websocketKey } from "../http/websocket.ts";
import type { ResponseHeadReader } from "./parse/response-head.ts";

/** One request to switch. */
export class SwitchRequest {
  /** The field lines that ask for it. */
  readonly lines: string;
  readonly #protocol: string;
  /** What proves that the answer is to this handshake of WebSocket. */
  readonly #accept: string | undefined;

  /** @param fields the other field lines of the request */
  constructor(protocol: string, fields: string) {
    this.#protocol = protocol;
    const offer = `connection: upgrade\r\nupgrade: ${protocol}\r\n`;
    const theirs = websocketKey(fields);
    // A client that came by HTTP/2 has no key.
    const key = theirs ?? randomBytes(16).toString("base64");
    const isWebsocket = protocol === WEBSOCKET;
    this.#accept = isWebsocket ? websocketAccept(key) : undefined;
    this.lines = isWebsocket && theirs === undefined ? `${offer}sec-websocket-key: ${key}\r\n` : offer;
  }

  /** Why the head of a 101 is no answer to this. */
  problem(head: ResponseHeadReader): string | undefined {
    if (!head.switchesTo(this.#protocol)) return `101 to something else than ${this.#protocol}`;
    if (this.#accept === undefined || isAccepted(head.keptFields(), this.#accept)) return undefined;
    return "101 without the Sec-WebSocket-Accept of its key";
  }
}

/** The field lines that end the head of a 101, behind `fields`; `key` is the client's. */
export function switchedLines(protocol: string, key: string | undefined, fields: string): string {
  const isProven = key === undefined || fieldValues(fields, "sec-websocket-accept").length > 0;
  const proof = isProven ? "" : `sec-websocket-accept: ${websocketAccept(key)}\r\n`;
  return `${proof}connection: upgrade\r\nupgrade: ${protocol}\r\n`;
}
