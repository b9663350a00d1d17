// Root. `node node-proxy.ts LISTEN_HOST:PORT TO_HOST:PORT [LISTEN_HOST:PORT TO_HOST:PORT …]`: a reverse proxy on node:http with a
// keep-alive agent, as one would write it with the runtime alone; all pairs but the first are HTTP/2, on node:http2.
import { Agent, createServer, request, type IncomingMessage } from "node:http";
import process from "node:process";
import type { Writable } from "node:stream";
import { proxyHttp2 } from "./node-http2-proxy.ts";

const [listen = "", to = "", ...http2] = process.argv.slice(2);

function address(text: string): { host: string; port: number } {
  const at = text.lastIndexOf(":");
  return { host: text.slice(0, at), port: Number(text.slice(at + 1)) };
}

/** Moves a body with backpressure; cheaper than node:stream's pipeline, which sets up listeners by the dozen. */
function forward(from: IncomingMessage, sink: Writable): void {
  from.on("data", (chunk: Buffer) => {
    if (!sink.write(chunk)) from.pause();
  });
  sink.on("drain", () => from.resume());
  from.on("end", () => sink.end());
}

const agent = new Agent({ keepAlive: true, maxSockets: Infinity });
const server = createServer((incoming, answer) => {
  const { connection: _, ...headers } = incoming.headers;
  const outgoing = request(
    { ...address(to), agent, method: incoming.method, path: incoming.url, headers },
    (response) => {
      answer.writeHead(response.statusCode ?? 502, response.headers);
      forward(response, answer);
      response.on("error", () => answer.destroy());
    },
  );
  outgoing.on("error", () => answer.destroy());
  answer.on("close", () => {
    if (!answer.writableFinished) outgoing.destroy();
  });
  forward(incoming, outgoing);
});
server.listen(address(listen));
for (let i = 0; i + 1 < http2.length; i += 2) proxyHttp2(address(http2[i] ?? ""), address(http2[i + 1] ?? ""));
