// Machine. For tests: a DNS proxy on real sockets, with resolvers that do as a test says.
import assert from "node:assert/strict";
import { createSocket, type RemoteInfo } from "node:dgram";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import type { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { Log } from "@culvert/shared/observe/log.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { id, ip, service, snapshot, workload } from "@culvert/test/support/fixtures.ts";
import { until, within } from "@culvert/test/support/until.ts";
import { deriveState, type UproxyState } from "../state.ts";
import { replyTo } from "./dns-fixtures.ts";
import { startDns, type Dns } from "./dns.ts";
import { frame, FrameReader } from "./frames.ts";

const identity = {
  version: 1,
  svid: { id: id("default/app") },
  bundles: new Map(),
  aliases: new Set(),
} as unknown as Identity;
const mesh = snapshot({
  workloads: [
    workload("db-0", { addresses: ["10.0.0.1"], labels: { app: "db" } }),
    workload("named", { addresses: ["10.0.0.7"], hostname: "named.example" }),
  ],
  services: [service("reviews", { vips: ["10.96.0.1"] }), service("db", { headless: true })],
});
/** The state of an app in namespace `default`. */
export const state: UproxyState = deriveState(mesh, identity, { configured: undefined, addresses: [] });

/** What a resolver does with a request; by TCP `reply` may be called again and again. */
export type Behaviour = (asked: Buffer, reply: (bytes: Buffer) => void, from: RemoteInfo | Socket) => void;

/** However it ends. */
export function closed(socket: Socket): Promise<undefined> {
  return until("the end of the connection", () => socket.closed).then(() => undefined);
}

export interface FakeResolver {
  readonly ip: ReturnType<typeof ip>;
  readonly port: number;
  readonly asked: Buffer[];
}

/** A resolver on one port, UDP and TCP. */
export async function resolver(context: TestContext, behave: Behaviour): Promise<FakeResolver> {
  const asked: Buffer[] = [];
  const sockets = new Set<Socket>();
  const tcp = createServer((socket) => {
    sockets.add(socket);
    const frames = new FrameReader();
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      frames.push(chunk);
      for (let message = frames.next(); message !== undefined; message = frames.next()) {
        asked.push(message);
        behave(message, (bytes) => socket.write(frame(bytes)), socket);
      }
    });
  });
  tcp.listen(0, "127.0.0.1");
  await once(tcp, "listening");
  const address = tcp.address();
  const port = typeof address === "object" ? (address?.port ?? 0) : 0;
  const udp = createSocket("udp4", (message, from) => {
    asked.push(message);
    behave(message, (bytes) => udp.send(bytes, from.port, from.address), from);
  });
  udp.bind(port, "127.0.0.1");
  await once(udp, "listening");
  context.after(() => {
    for (const socket of sockets) socket.destroy();
    tcp.close();
    udp.close();
  });
  return { ip: ip("127.0.0.1"), port, asked };
}

export interface Lab {
  readonly dns: Dns;
  readonly port: number;
  readonly metrics: Metrics;
  readonly lines: string[];
  readonly ask: (message: Buffer) => Promise<Buffer>;
}

interface LabOptions {
  readonly clock?: FakeClock;
  readonly host?: string;
  readonly port?: number;
}

type Upstream = readonly { readonly ip: ReturnType<typeof ip>; readonly port: number }[];

/** Starts a DNS proxy. */
export async function start(
  upstream: Upstream,
  { clock, host = "127.0.0.1", port = 0 }: LabOptions = {},
): Promise<Omit<Lab, "ask"> | Failure> {
  const metrics = new Metrics({ clock: systemClock });
  const lines: string[] = [];
  const log = new Log({ level: "debug", write: (line) => lines.push(line), clock: systemClock });
  const dns = await startDns({
    foundation: { clock: clock ?? systemClock, log, metrics, countFailure: () => undefined },
    dns: { listen: { kind: "tcp", host, port }, upstream },
    outbound: { listeners: [], transparent: undefined },
    state: () => state,
  });
  return isFailure(dns) ? dns : { dns, port: dns.addresses[0]?.port ?? 0, metrics, lines };
}

/** A DNS proxy that ends with the test, and somebody who asks it. */
export async function lab(context: TestContext, upstream: Upstream, options: LabOptions = {}): Promise<Lab> {
  const started = await start(upstream, options);
  assert.ok(!isFailure(started), isFailure(started) ? started.toString() : "");
  context.after(() => started.dns.close());
  const { host = "127.0.0.1" } = options;
  const socket = createSocket(host.includes(":") ? "udp6" : "udp4");
  context.after(() => socket.close());
  return {
    ...started,
    ask: async (message) => {
      const answer = once(socket, "message");
      socket.send(message, started.port, host === "localhost" ? "127.0.0.1" : host);
      const [reply] = (await within("an answer", answer)) as [Buffer];
      return reply;
    },
  };
}

export function value(metrics: Metrics, name: string): number {
  const found = metrics.collect(({ name: one }) => one === name)[0]?.series ?? [];
  return found.reduce((sum, series) => sum + ("value" in series ? Number(series.value) : 0), 0);
}

export async function tcpClient(
  context: TestContext,
  port: number,
): Promise<{ socket: Socket; next: () => Promise<Buffer> }> {
  const socket = connect(port, "127.0.0.1");
  context.after(() => socket.destroy());
  socket.on("error", () => undefined);
  await once(socket, "connect");
  const frames = new FrameReader();
  const found: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => {
    frames.push(chunk);
    for (let message = frames.next(); message !== undefined; message = frames.next()) found.push(message);
  });
  return { socket, next: () => until("a message", () => found.shift()) };
}

export const echo: Behaviour = (asked, reply) => reply(replyTo(asked));
