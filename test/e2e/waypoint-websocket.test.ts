// WebSocket client → uproxy → waypoint → uproxy → WebSocket server: the opening handshake is a request like others, everything behind it
// passes as it is. Both ends are `ws`; another protocol is said by hand.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Server } from "node:http";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { WebSocket, WebSocketServer, type ClientOptions } from "ws";
import { serveHttp } from "../support/apps.ts";
import { request } from "../support/http-wire.ts";
import { memory } from "../support/proc.ts";
import { authorizationPolicy, service } from "../support/resources.ts";
import { SHOP, startShop, type Shop } from "../support/shop.ts";
import { until } from "../support/until.ts";
import type { Script } from "../support/wire-app.ts";

const MIB = 1024 * 1024;
const CHAT = { port: 8100, targetPort: 8182 } as const;
const FLOOD = { frames: 128, bytes: MIB } as const;

/** Server ends of the connections, oldest first. */
const served: WebSocket[] = [];

/** What the chat does by path. */
const RULES: Readonly<Record<string, (socket: WebSocket) => void>> = {
  "/echo": (socket) => socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary })),
  "/flood": (socket) => void flood(socket),
  "/count": (socket) => {
    let bytes = 0;
    socket.on("message", (data: Buffer) => {
      bytes += data.length;
      if (bytes === FLOOD.frames * FLOOD.bytes) socket.send(String(bytes));
    });
  },
  "/held": () => {},
};

async function flood(socket: WebSocket): Promise<void> {
  const frame = randomBytes(FLOOD.bytes);
  for (let i = 0; i < FLOOD.frames; i += 1) {
    await new Promise<void>((resolve, reject) => socket.send(frame, (error) => (error ? reject(error) : resolve())));
  }
  socket.close(1000);
}

/** Makes a server of WebSocket out of one of HTTP. */
function chat(server: Server): void {
  const sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: true,
    handleProtocols: (offered) => (offered.has("chat.v2") ? "chat.v2" : false),
  });
  server.on("upgrade", (message, socket, head) => {
    if (message.url === "/refused") {
      socket.end("HTTP/1.1 409 Conflict\r\ncontent-length: 2\r\n\r\nno");
      return;
    }
    sockets.handleUpgrade(message, socket, head, (opened) => {
      served.push(opened);
      opened.on("error", () => {});
      RULES[message.url ?? ""]?.(opened);
    });
  });
}

const AGREES = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo/1\r\n\r\n";

/** What came to the echo after it had ended its half. */
const late: string[] = [];

const scripts: Readonly<Record<string, Script>> = {
  "/echo-protocol": (socket) => {
    socket.write(`${AGREES}ready.`);
    socket.on("data", (chunk) => {
      if (chunk.toString() === "end.") socket.end("bye.");
      else if (socket.writableEnded) late.push(chunk.toString());
      else socket.write(chunk);
    });
  },
};

/** The next message of a connection. */
async function next(socket: WebSocket): Promise<{ data: Buffer; isBinary: boolean }> {
  const [data, isBinary] = (await once(socket, "message")) as [Buffer, boolean];
  return { data, isBinary };
}

describe("WebSocket through a waypoint", () => {
  let shop: Shop;

  before(async () => {
    const labels = { "istio.io/use-waypoint": "waypoint" };
    const ports = [
      { name: "http", ...CHAT, appProtocol: "http" },
      { name: "any", port: CHAT.port + 1, targetPort: CHAT.targetPort },
    ];
    shop = await startShop({
      scripts,
      more: () => [service("chat", ports, { labels, app: "shop" })],
      listeners: () => Object.fromEntries(ports.map(({ port }) => [port, `chat:${port}`])),
      waypoint: { config: { upgrades: ["websocket", "echo/1"], drain: { timeout: "1s" } } },
    });
    await shop.mesh.with(
      serveHttp(shop.addresses.apps[0], CHAT.targetPort, (_, response) => response.end("plain"), chat),
    );
  });

  after(() => shop.mesh.stop());

  /** Opens a connection; `answer` is what came of it. */
  async function open(path: string, options: ClientOptions = {}, port: number = CHAT.port): Promise<WebSocket> {
    const socket = new WebSocket(`ws://${hostPort(shop.client.inside, port)}${path}`, ["chat.v1", "chat.v2"], options);
    await once(socket, "open");
    return socket;
  }

  for (const [what, options] of [
    ["plain", { perMessageDeflate: false }],
    ["compressed", { perMessageDeflate: { threshold: 0 } }],
  ] as const) {
    test(`${what}: messages of every kind and size, in one frame and in many, with pings between them`, async () => {
      const socket = await open("/echo", options);
      assert.equal(socket.protocol, "chat.v2");
      assert.equal(socket.extensions, what === "plain" ? "" : "permessage-deflate");
      for (const size of [0, 1, 125, 126, 65_535, 65_536, MIB]) {
        const sent = randomBytes(size);
        socket.send(sent);
        const { data, isBinary } = await next(socket);
        assert.ok(isBinary && data.equals(sent), `${size} bytes`);
      }
      socket.send("Köbler μ 💧");
      assert.equal((await next(socket)).data.toString(), "Köbler μ 💧");
      socket.send("one ", { fin: false });
      socket.ping("are you there?");
      const [pong] = (await once(socket, "pong")) as [Buffer];
      assert.equal(pong.toString(), "are you there?");
      socket.send("two ", { fin: false });
      socket.send("three", { fin: true });
      assert.deepEqual(await next(socket), { data: Buffer.from("one two three"), isBinary: false });
      served.at(-1)?.ping("and you?");
      const [ping] = (await once(socket, "ping")) as [Buffer];
      assert.equal(ping.toString(), "and you?");
      socket.close();
      await once(socket, "close");
    });
  }

  test("codes and reasons of either side arrive, and so does an end without any", async () => {
    const byClient = await open("/held");
    byClient.close(4000, "by the client");
    const [code, reason] = (await once(served.at(-1) as WebSocket, "close")) as [number, Buffer];
    assert.deepEqual([code, reason.toString()], [4000, "by the client"]);
    const byServer = await open("/held");
    served.at(-1)?.close(4001, "by the server");
    const [other, why] = (await once(byServer, "close")) as [number, Buffer];
    assert.deepEqual([other, why.toString()], [4001, "by the server"]);
    const cut = await open("/held");
    cut.on("error", () => {});
    served.at(-1)?.terminate();
    assert.equal((await once(cut, "close"))[0], 1006);
    const left = await open("/held");
    const server = served.at(-1) as WebSocket;
    left.terminate();
    assert.equal((await once(server, "close"))[0], 1006);
  });

  test("it is one request in log and numbers, with everything that passed", async () => {
    const socket = await open("/echo?one");
    socket.on("error", () => {});
    await shop.waypoint.access({ path: "/held", response_code: 101 });
    socket.close();
    await once(socket, "close");
    const line = await shop.waypoint.access({ path: "/echo?one" });
    assert.deepEqual([line["method"], line["response_code"], line["code"]], ["GET", 101, undefined]);
    assert.ok(Number(line["bytes_received"]) > 0 && Number(line["bytes_sent"]) > 0);
  });

  test("a server that refuses is heard, and a plain request is not in its way", async () => {
    const socket = new WebSocket(`ws://${hostPort(shop.client.inside, CHAT.port)}/refused`);
    socket.on("error", () => {});
    const [, answer] = (await once(socket, "unexpected-response")) as [unknown, { statusCode: number }];
    assert.equal(answer.statusCode, 409);
    const wire = await shop.dial(CHAT.port);
    assert.equal((await wire.ask(request("GET", "/plain", { host: "chat" }))).text, "plain");
    wire.close();
  });

  test("a port that declares nothing speaks it too", async () => {
    const socket = await open("/echo", {}, CHAT.port + 1);
    socket.send("hello");
    assert.equal((await next(socket)).data.toString(), "hello");
    socket.close();
    await once(socket, "close");
  });

  test("hundreds of megabytes pass in either direction, and the waypoint does not grow", async () => {
    const down = await open("/flood", { perMessageDeflate: false });
    const atFirst = memory(shop.waypoint.program.pid).anon;
    let got = 0;
    let most = 0;
    const look = (): void => void (most = Math.max(most, memory(shop.waypoint.program.pid).anon));
    down.on("message", (data: Buffer) => {
      got += data.length;
      if (got % (8 * MIB) === 0) look();
    });
    await once(down, "close");
    assert.equal(got, FLOOD.frames * FLOOD.bytes);
    const up = await open("/count", { perMessageDeflate: false });
    const frame = randomBytes(FLOOD.bytes);
    const counted = next(up);
    for (let i = 0; i < FLOOD.frames; i += 1) {
      await new Promise((resolve) => up.send(frame, resolve));
      if (i % 8 === 0) look();
    }
    assert.equal((await counted).data.toString(), String(FLOOD.frames * FLOOD.bytes));
    up.close();
    await once(up, "close");
    assert.ok(most - atFirst < 32, `the waypoint grew by ${(most - atFirst).toFixed(1)} MiB`);
  });

  test("another protocol that the configuration names: half-closes pass both ways", async () => {
    const wire = await shop.dial(SHOP.http);
    wire.send(`${request("GET", "/echo-protocol", { connection: "upgrade", upgrade: "echo/1" })}early.`);
    await until("the switch", () => wire.unread.includes("ready.early."));
    assert.match(wire.unread, /^HTTP\/1\.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\/1\r\n\r\n/);
    wire.send("end.");
    assert.equal(await wire.ended(), "end");
    assert.match(wire.unread, /ready\.early\.bye\.$/);
    wire.send("still going.");
    await until("bytes behind the end of the other half", () => late.join("") === "still going.");
    wire.finish();
    await shop.waypoint.access({ path: "/echo-protocol", response_code: 101 });
    wire.close();
  });

  test("a policy decides on the handshake, and a change of it ends what it no longer permits", async () => {
    const [doomed, spared] = [await open("/held"), await open("/echo")];
    doomed.on("error", () => {});
    const deny = authorizationPolicy("no-held", "DENY", { service: "chat" }, [
      { to: [{ operation: { paths: ["/held"] } }] },
    ]);
    shop.mesh.write("policies", [deny]);
    assert.equal((await once(doomed, "close"))[0], 1006);
    const line = await shop.waypoint.access({ path: "/held", code: "POLICY_CHANGED" });
    assert.equal(line["response_code"], 101);
    spared.send("still here");
    assert.equal((await next(spared)).data.toString(), "still here");
    spared.close();
    const refused = new WebSocket(`ws://${hostPort(shop.client.inside, CHAT.port)}/held`);
    refused.on("error", () => {});
    const [, answer] = (await once(refused, "unexpected-response")) as [unknown, { statusCode: number }];
    assert.equal(answer.statusCode, 403);
  });

  test("a drain waits for it as long as it may, then ends it", async () => {
    const socket = await open("/echo");
    socket.on("error", () => {});
    const closed = once(socket, "close");
    const stopping = shop.waypoint.program.stop();
    await until("the drain", () => shop.waypoint.log.some(({ message }) => String(message).includes("drain")));
    socket.send("last words");
    assert.equal((await next(socket)).data.toString(), "last words");
    assert.equal((await closed)[0], 1006);
    const line = await shop.waypoint.access({ path: "/echo", code: "DRAINING" });
    assert.equal(line["response_code"], 101);
    await stopping;
  });
});
