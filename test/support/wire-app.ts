// Machine. An HTTP/1.1 application that keeps every request as it came, byte for byte, and answers with a description of it, or with the
// very bytes that a test says.
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { startTcpApp, type App } from "./apps.ts";
import { parseMessage, type Message } from "./http-message.ts";
import type { WireAnswer } from "./http-wire.ts";

/** A request as it reached the application; the JSON body of the usual answer. */
export interface Seen {
  readonly app: string;
  /** The request line. */
  readonly line: string;
  /** Names and values of the fields in order, as they came. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** One character a byte. */
  readonly body: string;
  readonly trailers: string;
  /** Connection that it came by: the first one of this app is 1. */
  readonly connection: number;
}

/** Takes over a connection from the head of a request on, for good. `rest` came behind that head. */
export type Takeover = (socket: Socket, head: string, rest: Buffer) => void;

/** What to do instead of the usual answer: say these very bytes to the whole request, or take over. */
export type Script = string | Takeover;

/** The application. */
export interface WireApp extends App {
  /** Whole requests in the order in which they came. */
  readonly seen: readonly Seen[];
  /** Every byte of every connection. */
  readonly heard: () => string;
}

/** Starts one. Requests whose target begins with a key of `scripts` are answered by that. */
export async function startWireApp(
  host: string,
  port: number,
  name: string,
  scripts: Readonly<Record<string, Script>> = {},
): Promise<WireApp> {
  const seen: Seen[] = [];
  const heard: Buffer[] = [];
  let connections = 0;
  const app = await startTcpApp(host, port, (socket) => {
    const connection = (connections += 1);
    let bytes = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      heard.push(chunk);
      bytes = Buffer.concat([bytes, chunk]);
      for (;;) {
        const script = scriptFor(bytes, scripts);
        if (typeof script === "function") {
          const end = bytes.indexOf("\r\n\r\n");
          socket.off("data", onData);
          script(socket, bytes.toString("latin1", 0, end), bytes.subarray(end + 4));
          return;
        }
        const parsed = parseMessage(bytes);
        if (parsed === undefined) return;
        bytes = bytes.subarray(parsed.length);
        const request = describe(name, parsed.message, connection);
        seen.push(request);
        socket.write(script ?? describeTo(request), "latin1");
      }
    };
    socket.on("data", onData);
    socket.on("end", () => socket.end());
  });
  return Object.assign(app, { seen, heard: () => Buffer.concat(heard).toString("latin1") });
}

function scriptFor(bytes: Buffer, scripts: Readonly<Record<string, Script>>): Script | undefined {
  if (!bytes.includes("\r\n\r\n")) return undefined;
  const [, target = ""] = bytes.toString("latin1", 0, bytes.indexOf("\r\n")).split(" ");
  return Object.entries(scripts).find(([prefix]) => target.startsWith(prefix))?.[1];
}

function describe(app: string, { head, body, trailers }: Message, connection: number): Seen {
  const [line = "", ...rest] = head.split("\r\n");
  const parts = rest.map((text) => {
    const colon = text.indexOf(":");
    return [text.slice(0, colon), text.slice(colon + 1).trim()] as const;
  });
  return { app, line, fields: parts, body: body.toString("latin1"), trailers, connection };
}

function describeTo(request: Seen): string {
  const body = request.line.startsWith("HEAD ") ? "" : JSON.stringify(request);
  return `HTTP/1.1 200 OK\r\nx-app: ${request.app}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
}

/** All values of a field of a request that an application has seen. */
export function seenValues(request: Seen, name: string): string[] {
  return request.fields.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
}

/** What an application tells of the request in a good answer. */
export function seenIn(answer: WireAnswer): Seen {
  assert.equal(answer.status, 200, answer.text);
  return JSON.parse(answer.text) as Seen;
}
