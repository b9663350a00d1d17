// Root. `node client-process.ts SOCKET`: makes requests from within a pod, as its application would, and tells what came. Asked by lines
// of JSON on a UNIX socket; prints `ready` once it listens there.
import { connect as connectHttp2, type ClientHttp2Session, type IncomingHttpHeaders } from "node:http2";
import { createServer, type Socket } from "node:net";
import process from "node:process";
import { createInterface } from "node:readline";
import { callOnce } from "../support/grpc.ts";
import { dialHttp, type HttpWire } from "../support/http-wire.ts";
import { statusOf } from "../support/http-message.ts";
import { until, within } from "../support/until.ts";
import { decodeText, encodeText } from "./echo-message.ts";
import type { Answer, Done, Job } from "./job.ts";
import { binaryFrame, maskedFrame, textFrame, unmaskedFrame } from "./frames.ts";

/** Connections that the requests of one job share. */
const CONNECTIONS = 5;

/** What makes the requests of one connection, one after another. */
interface Line {
  ask(job: Job): Promise<Answer>;
  close(): void;
}

class Http1Line implements Line {
  #wire: HttpWire | undefined;

  async ask(job: Job): Promise<Answer> {
    this.#wire ??= await dialHttp(job.host, job.port);
    const own = job.body === "" ? [] : [["content-length", String(Buffer.byteLength(job.body))]];
    const lines = [["host", job.authority], ...job.headers, ...own];
    const fields = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    try {
      const answer = await this.#wire.ask(`${job.method} ${job.target} HTTP/1.1\r\n${fields}\r\n${job.body}`);
      const told = answer.head.split("\r\n").slice(1);
      const read = told.map((line): readonly [string, string] => {
        const colon = line.indexOf(":");
        return [line.slice(0, colon), line.slice(colon + 1).trim()];
      });
      if (read.some(([name, value]) => name.toLowerCase() === "connection" && value === "close")) this.close();
      return { status: answer.status, fields: read, text: answer.text, grpc: -1, error: undefined };
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    this.#wire?.close();
    this.#wire = undefined;
  }
}

class Http2Line implements Line {
  #session: ClientHttp2Session | undefined;

  ask(job: Job): Promise<Answer> {
    this.#session ??= this.#connect(job);
    return job.kind === "grpc" ? call(this.#session, job) : exchange(this.#session, job);
  }

  #connect({ host, port }: Job): ClientHttp2Session {
    const session = connectHttp2(`http://${host}:${port}`);
    session.on("error", () => undefined);
    session.on("close", () => (this.#session = undefined));
    return session;
  }

  close(): void {
    this.#session?.close();
  }
}

async function call(session: ClientHttp2Session, job: Job): Promise<Answer> {
  const headers = { ...Object.fromEntries(job.headers), ":authority": job.authority };
  const answer = await callOnce(session, job.target, encodeText(job.body), headers);
  const [message] = answer.messages;
  return {
    status: Number(answer.headers[":status"] ?? 0),
    fields: listed(answer.headers),
    text: message === undefined ? answer.message : decodeText(message),
    grpc: answer.status,
    error: undefined,
  };
}

async function exchange(session: ClientHttp2Session, job: Job): Promise<Answer> {
  const head = {
    ...Object.fromEntries(job.headers.map(([name, value]) => [name.toLowerCase(), value])),
    ":method": job.method,
    ":path": job.target,
    ":authority": job.authority,
  };
  const stream = session.request(head, { endStream: job.body === "" });
  const chunks: Buffer[] = [];
  let headers: IncomingHttpHeaders = {};
  stream.on("response", (fields) => (headers = fields));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  if (job.body !== "") stream.end(job.body);
  await within(
    `an answer to ${job.target}`,
    new Promise<void>((resolve, reject) => {
      stream.once("close", resolve);
      stream.once("error", reject);
    }),
  );
  const text = Buffer.concat(chunks).toString("utf8");
  return { status: Number(headers[":status"] ?? 0), fields: listed(headers), text, grpc: -1, error: undefined };
}

function listed(headers: IncomingHttpHeaders): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    name.startsWith(":") || value === undefined ? [] : [[name, String(value)] as [string, string]],
  );
}

function lineOf(kind: Job["kind"]): Line {
  if (kind === "tcp") return { ask: overTcp, close: () => undefined };
  if (kind === "websocket") return { ask: overWebSocket, close: () => undefined };
  return kind === "http1" ? new Http1Line() : new Http2Line();
}

/** Says something over a connection of its own, and hears what comes until its end. */
async function overTcp({ host, port, body }: Job): Promise<Answer> {
  const wire = await dialHttp(host, port);
  wire.send(body || "hello");
  wire.finish();
  const how = await wire.ended();
  wire.close();
  return { status: 200, fields: [], text: wire.unread, grpc: -1, error: how === "end" ? undefined : how };
}

/** Upgrades a connection, sends a text frame and a binary one, and tells of both as they come back. */
async function overWebSocket(job: Job): Promise<Answer> {
  const wire = await dialHttp(job.host, job.port);
  const asked = [
    ["host", job.authority],
    ["connection", "Upgrade"],
    ["upgrade", "websocket"],
    ["sec-websocket-version", "13"],
    ["sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="],
    ...job.headers,
  ];
  wire.send(`GET ${job.target} HTTP/1.1\r\n${asked.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`);
  const head = await wire.interim();
  const status = statusOf(head) ?? 0;
  const told: string[] = [];
  if (status === 101) {
    for (const frame of [textFrame("hello"), binaryFrame(Buffer.from("00ff10", "hex"))]) {
      wire.send(maskedFrame(frame));
      const back = await until("a frame", () => unmaskedFrame(Buffer.from(wire.unread, "latin1"), told.length));
      told.push(back.isText ? `text:${back.payload.toString("utf8")}` : `binary:${back.payload.toString("hex")}`);
    }
  }
  wire.close();
  return { status, fields: [], text: told.join(" "), grpc: -1, error: undefined };
}

async function serve(socket: Socket, job: Job): Promise<void> {
  const done: Done = { id: job.id, answers: await perform(job) };
  socket.write(`${JSON.stringify(done)}\n`);
}

async function perform(job: Job): Promise<readonly Answer[]> {
  const answers: Answer[] = [];
  let begun = 0;
  const line = async (): Promise<void> => {
    const own = lineOf(job.kind);
    while (begun < job.count) {
      begun += 1;
      answers.push(
        await own.ask(job).catch((error: unknown) => ({
          status: 0,
          fields: [],
          text: "",
          grpc: -1,
          error: error instanceof Error ? error.message : String(error),
        })),
      );
    }
    own.close();
  };
  await Promise.all(Array.from({ length: Math.min(CONNECTIONS, job.count) }, line));
  return answers;
}

const server = createServer((socket) => {
  socket.on("error", () => undefined);
  createInterface({ input: socket }).on("line", (text) => {
    void serve(socket, JSON.parse(text) as Job);
  });
});
const [path = ""] = process.argv.slice(2);
server.listen(path, () => process.stdout.write("ready\n"));
process.once("SIGTERM", () => process.exit(0));
