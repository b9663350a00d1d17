// Root. `node echo-process.ts POD`: the application of a pod, which answers every request with what it saw, byte for byte. On 8080 it
// speaks HTTP/1.1 and HTTP/2 by prior knowledge, on 7070 gRPC, on 9090 it tells who it is. Each request is told on standard output,
// where copies are found that nobody waits for; it prints `ready` once it listens.
import { createHash } from "node:crypto";
import { createServer as createHttp2Server, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import process from "node:process";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { startTcpApp } from "../support/apps.ts";
import { framed } from "../support/grpc.ts";
import { parseMessage } from "../support/http-message.ts";
import { encodeText } from "./echo-message.ts";
import { answerTo, type EchoAnswer } from "./echo-answer.ts";
import { clientFrame, plainFrame } from "./frames.ts";
import type { Saw } from "./saw.ts";

const [pod = ""] = process.argv.slice(2);
const PREFACE = "PRI * HTTP/2.0\r\n\r\n";

function tell(saw: Saw): void {
  process.stdout.write(`saw ${JSON.stringify(saw)}\n`);
}

/** One connection of HTTP/1.1: requests in turn, read whole, answered in order. */
function serveHttp1(socket: Socket, first: Buffer): void {
  let bytes = Buffer.alloc(0);
  let busy = false;
  const next = (): void => {
    if (busy) return;
    const parsed = parseMessage(bytes);
    if (parsed === undefined) return;
    bytes = bytes.subarray(parsed.length);
    const { head, body, trailers } = parsed.message;
    const [line = "", ...lines] = head.split("\r\n");
    const [method = "", target = "", version = ""] = line.split(" ");
    const fields = lines.map((text) => {
      const colon = text.indexOf(":");
      return [text.slice(0, colon), text.slice(colon + 1).trim()] as const;
    });
    const host = fields.find(([name]) => name.toLowerCase() === "host")?.[1] ?? "";
    const saw = { pod, method, path: target, host, http: version, fields, body: body.toString("latin1"), trailers };
    tell(saw);
    if (fields.some(([name, value]) => name.toLowerCase() === "upgrade" && value === "websocket")) {
      socket.off("data", onData);
      upgrade(socket, fields, bytes);
      return;
    }
    const answer = answerTo(saw);
    if (answer === "close") {
      socket.destroy();
      return;
    }
    busy = true;
    const write = (): void => {
      busy = false;
      socket.write(textOf(answer, method), "latin1");
      next();
    };
    if (answer.delayMs === 0) write();
    else systemClock.after(answer.delayMs, write);
  };
  const onData = (chunk: Buffer): void => {
    bytes = Buffer.concat([bytes, chunk]);
    next();
  };
  socket.on("data", onData);
  socket.on("end", () => socket.end());
  onData(first);
}

/** Becomes a WebSocket that sends back each message. */
function upgrade(socket: Socket, fields: Saw["fields"], first: Buffer): void {
  const key = fields.find(([name]) => name.toLowerCase() === "sec-websocket-key")?.[1] ?? "";
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const lines = ["HTTP/1.1 101 Switching Protocols", "connection: Upgrade", "upgrade: websocket"];
  socket.write(`${[...lines, `sec-websocket-accept: ${accept}`].join("\r\n")}\r\n\r\n`);
  let bytes = Buffer.from(first);
  const onData = (chunk: Buffer): void => {
    bytes = Buffer.concat([bytes, chunk]);
    for (let next = clientFrame(bytes); next !== undefined; next = clientFrame(bytes)) {
      bytes = bytes.subarray(next.length);
      socket.write(plainFrame(next.frame));
    }
  };
  socket.on("data", onData);
  onData(Buffer.alloc(0));
}

/** Tells who it is, says nothing else, and ends when the other side has ended. */
function serveTcp(socket: Socket): void {
  socket.on("data", () => undefined);
  socket.on("end", () => socket.end(JSON.stringify({ pod, host: "", fields: [] } satisfies Saw)));
}

function textOf({ status, fields, body }: EchoAnswer, method: string): string {
  const own = [["content-type", "application/json"], ["content-length", String(body.length)], ...fields];
  const lines = own.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return `HTTP/1.1 ${status} Answer\r\n${lines}\r\n${method === "HEAD" ? "" : body}`;
}

function sawOf(headers: IncomingHttpHeaders, raw: readonly string[], body: string): Saw {
  const { ":method": method = "", ":path": path = "", ":authority": host = "" } = headers;
  const fields: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    if (!raw[at]?.startsWith(":")) fields.push([raw[at] ?? "", raw[at + 1] ?? ""]);
  }
  return { pod, method, path, host, http: "HTTP/2.0", fields, body, trailers: "" };
}

const http2 = createHttp2Server();
http2.on("sessionError", () => undefined);
http2.on(
  "stream",
  (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, _flags: number, raw: readonly string[]) => {
    const chunks: Buffer[] = [];
    stream.on("error", () => undefined);
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => {
      const saw = sawOf(headers, raw, Buffer.concat(chunks).toString("latin1"));
      tell(saw);
      const answer = answerTo(saw);
      if (answer === "close") stream.close();
      else if (answer.delayMs === 0) answerStream(stream, headers, answer);
      else systemClock.after(answer.delayMs, () => answerStream(stream, headers, answer));
    });
  },
);

function answerStream(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  { status, fields, body }: EchoAnswer,
): void {
  if (stream.destroyed) return;
  const own = Object.fromEntries(fields.map(([name, value]) => [name.toLowerCase(), value]));
  if (!String(headers["content-type"]).startsWith("application/grpc")) {
    stream.respond({ ":status": status, "content-type": "application/json", ...own });
    stream.end(headers[":method"] === "HEAD" ? undefined : Buffer.from(body, "latin1"));
    return;
  }
  stream.respond({ ":status": 200, "content-type": "application/grpc", ...own }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(framed(encodeText(body)));
}

/** HTTP/2 by its preface, HTTP/1.1 otherwise. */
function serve(socket: Socket): void {
  let bytes = Buffer.alloc(0);
  const onData = (chunk: Buffer): void => {
    bytes = Buffer.concat([bytes, chunk]);
    const text = bytes.toString("latin1", 0, PREFACE.length);
    if (PREFACE.startsWith(text) && text !== PREFACE) return;
    socket.off("data", onData);
    if (text !== PREFACE) {
      serveHttp1(socket, bytes);
      return;
    }
    socket.pause();
    socket.unshift(bytes);
    http2.emit("connection", socket);
  };
  socket.on("data", onData);
}

const apps = await Promise.all([
  startTcpApp("::", 8080, serve),
  startTcpApp("::", 7070, serve),
  startTcpApp("::", 9090, serveTcp),
]);
process.stdout.write("ready\n");
process.once("SIGTERM", () => {
  for (const app of apps) void app.stop();
});
