// Root. `node in-process-app.ts FILE`: one of the two services of the in-process bench, as the JSON of FILE says. The server answers HTTP with
// 100 bytes, and on another port sends as long as somebody reads. The client loads it when it is asked to, by HTTP, and tells what came of
// that. Either is in the mesh by itself, where it is given a configuration for that, or knows nothing of any mesh.
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Agent, createServer, request, type IncomingMessage } from "node:http";
import { connect, createServer as createTcpServer, type Socket } from "node:net";
import process from "node:process";
import type { Duplex } from "node:stream";
import type { Mesh, MeshConfiguration } from "@culvert/in-process";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { Agent as UndiciAgent, request as undiciRequest, type Dispatcher } from "undici";

/** What FILE says. */
export interface InProcessApp {
  readonly role: "client" | "server";
  /** Where the server listens, or is found. */
  readonly host: string;
  readonly http: number;
  readonly bulk: number;
  /** Where the client is told what to do. */
  readonly control?: { readonly host: string; readonly port: number };
  /** Set: it is in the mesh by itself. */
  readonly mesh?: MeshConfiguration;
}

/** By what the client makes its requests. */
export type By = "agent" | "dispatcher" | "connections";

/** What a load came to. */
export interface Load {
  readonly count: number;
  readonly p50Ms: number;
  readonly bytes: number;
}

const ANSWER = Buffer.alloc(100, "x");
const CHUNK = Buffer.alloc(256 * 1024, "x");

function send(socket: Duplex): void {
  const more = (): void => {
    while (!socket.destroyed && socket.write(CHUNK));
  };
  socket.on("drain", more).on("error", () => {});
  // Whoever has read enough leaves.
  socket.resume();
  more();
}

async function serve({ host, http, bulk }: InProcessApp, mesh: Mesh | undefined): Promise<void> {
  const server = createServer((_request, response) => void response.end(ANSWER));
  if (mesh === undefined) {
    server.listen(http, host);
    createTcpServer(send).listen(bulk, host);
    return;
  }
  await mesh.serve(server, { port: http });
  await mesh.serve(send, { port: bulk });
}

/** Drives the server from within the client. */
class Driver {
  readonly #app: InProcessApp;
  readonly #mesh: Mesh | undefined;
  readonly #kept: Agent;
  readonly #fresh: Agent;
  readonly #dispatcher: Dispatcher;

  constructor(app: InProcessApp, mesh: Mesh | undefined, dispatcher: Dispatcher) {
    this.#app = app;
    this.#mesh = mesh;
    this.#kept = mesh?.httpAgent({ keepAlive: true }) ?? new Agent({ keepAlive: true });
    this.#fresh = mesh?.httpAgent({ keepAlive: false }) ?? new Agent({ keepAlive: false });
    this.#dispatcher = dispatcher;
  }

  /** As many requests as come to an end in `ms`, `inFlight` of them at a time. */
  async requests(by: By, inFlight: number, ms: number): Promise<Load> {
    const end = systemClock.monotonic() + ms;
    const took: number[] = [];
    const run = by === "dispatcher" ? () => this.#dispatched() : () => this.#asked(by);
    const worker = async (): Promise<void> => {
      for (;;) {
        const began = systemClock.monotonic();
        if (began >= end) return;
        await run();
        took.push(systemClock.monotonic() - began);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, worker));
    took.sort((a, b) => a - b);
    return { count: took.length, p50Ms: took[Math.floor(took.length / 2)] ?? Number.NaN, bytes: 0 };
  }

  /** Reads from one connection for `ms`. */
  async bulk(ms: number): Promise<Load> {
    const to = { host: this.#app.host, port: this.#app.bulk };
    const socket: Socket | Duplex = this.#mesh?.connect(to) ?? connect(to);
    let bytes = 0;
    socket.on("data", (chunk: Buffer) => void (bytes += chunk.length));
    await once(socket, "data");
    await new Promise<void>((resolve) => void systemClock.after(ms, resolve));
    const found = bytes;
    socket.on("error", () => {}).destroy();
    return { count: 1, p50Ms: 0, bytes: found };
  }

  async #asked(by: Exclude<By, "dispatcher">): Promise<void> {
    const { host, http: port } = this.#app;
    const outgoing = request({ host, port, agent: by === "agent" ? this.#kept : this.#fresh }).end();
    const [response] = (await once(outgoing, "response")) as [IncomingMessage];
    response.resume();
    await once(response, "end");
  }

  async #dispatched(): Promise<void> {
    const { host, http } = this.#app;
    const { body } = await undiciRequest(`http://${host}:${http}/`, { dispatcher: this.#dispatcher });
    await body.dump();
  }
}

/** Takes orders such as `GET /requests?by=agent&inFlight=16&ms=1000`; `/` answers once it is ready. */
async function takeOrders(app: InProcessApp, mesh: Mesh | undefined): Promise<void> {
  const dispatcher = mesh === undefined ? new UndiciAgent() : ((await mesh.dispatcher()) as unknown as Dispatcher);
  const driver = new Driver(app, mesh, dispatcher);
  const orders = createServer((order, answer) => {
    const [path = "/", query = ""] = (order.url ?? "/").split("?");
    const said = new URLSearchParams(query);
    const ms = Number(said.get("ms") ?? 0);
    const load =
      path === "/bulk"
        ? driver.bulk(ms)
        : driver.requests((said.get("by") ?? "agent") as By, Number(said.get("inFlight") ?? 1), path === "/" ? 1 : ms);
    load.then(
      (found) => void answer.end(JSON.stringify(found)),
      (error: unknown) => void answer.writeHead(502).end(String(error)),
    );
  });
  orders.listen(app.control);
}

/** Lines of the log are written as uproxy writes them. */
function log(line: string): void {
  process.stdout.write(`${line}\n`);
}

if (import.meta.main) {
  const app = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as InProcessApp;
  // Not loaded where it would only be counted.
  const mesh =
    app.mesh === undefined ? undefined : await (await import("@culvert/in-process")).openMesh(app.mesh, { log });
  await (app.role === "server" ? serve(app, mesh) : takeOrders(app, mesh));
  process.stdout.write("listening\n");
}
