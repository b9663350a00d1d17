// WebSocket between clients and servers of different versions of HTTP: what one asks for by Upgrade the other knows as extended CONNECT
// (RFC 8441). Real WebSocket ends over the streams of the runtime's HTTP/2, through the whole chain.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  connect as connectHttp2,
  createServer,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { connect, type AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { after, before, describe, test } from "node:test";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { WebSocket, WebSocketServer } from "ws";
import { serveHttp } from "../support/apps.ts";
import { service } from "../support/resources.ts";
import { startShop, type Shop } from "../support/shop.ts";
import { within } from "../support/until.ts";

const PORTS = {
  http1: { name: "http1", port: 8110, targetPort: 8184, appProtocol: "http" },
  http2: { name: "http2", port: 8111, targetPort: 8185, appProtocol: "kubernetes.io/h2c" },
  /** Its application does not take extended CONNECT. */
  plain: { name: "plain", port: 8112, targetPort: 8186, appProtocol: "kubernetes.io/h2c" },
} as const;

type Version = "http1" | "http2";

/** The end of WebSocket over a stream of HTTP/2; `ws` has no public way to take one. */
function overStream(stream: Duplex, side: "client" | "server"): WebSocket {
  const socket = Reflect.construct(WebSocket, [null, undefined, { autoPong: true }]) as WebSocket;
  Object.assign(socket, { _isServer: side === "server" });
  const options = { allowSynchronousEvents: true, maxPayload: 0, skipUTF8Validation: false };
  (socket as unknown as { setSocket(to: Duplex, head: Buffer, options: object): void }).setSocket(
    stream,
    Buffer.alloc(0),
    options,
  );
  return socket;
}

function echo(socket: WebSocket): void {
  socket.on("error", () => {});
  socket.on("message", (data: Buffer, isBinary) => {
    if (data.toString() === "close") socket.close(4321, "asked to");
    else socket.send(data, { binary: isBinary });
  });
}

describe("WebSocket between versions of HTTP", () => {
  let shop: Shop;
  const sessions: ClientHttp2Session[] = [];
  /** Heads of the requests that the application of HTTP/2 got. */
  const heads: Readonly<Record<string, unknown>>[] = [];

  before(async () => {
    const labels = { "istio.io/use-waypoint": "waypoint" };
    const ports = Object.values(PORTS);
    shop = await startShop({
      more: () => [service("chat", ports, { labels, app: "shop" })],
      listeners: () => Object.fromEntries(ports.map(({ port }) => [port, `chat:${port}`])),
    });
    const [{ address }] = shop.apps;
    await shop.mesh.with(
      serveHttp(
        address,
        PORTS.http1.targetPort,
        (_, response) => response.writeHead(426).end(),
        (server) => new WebSocketServer({ server }).on("connection", echo),
      ),
    );
    for (const [targetPort, takesConnect] of [
      [PORTS.http2.targetPort, true],
      [PORTS.plain.targetPort, false],
    ] as const) {
      const server = createServer({ settings: { enableConnectProtocol: takesConnect } });
      server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
        heads.push({ ...headers });
        stream.on("error", () => {});
        if (headers[":path"] === "/refused") {
          stream.respond({ ":status": 403 });
          stream.end("no");
          return;
        }
        stream.respond({ ":status": 200 });
        echo(overStream(stream, "server"));
      });
      server.on("session", (session) => session.on("error", () => {}));
      server.listen(targetPort, address);
      await once(server, "listening");
      assert.equal((server.address() as AddressInfo).port, targetPort);
      shop.mesh.atEnd(async () => void server.close());
    }
  });

  after(async () => {
    for (const session of sessions) session.destroy();
    await shop.mesh.stop();
  });

  async function askByHttp2(to: number, path: string): Promise<{ stream: ClientHttp2Stream; status: number }> {
    const socket = connect({ host: shop.client.inside, port: to });
    const session = connectHttp2("http://chat", { createConnection: () => socket });
    sessions.push(session);
    session.on("error", () => {});
    await within("the settings of the waypoint", once(session, "remoteSettings"));
    assert.equal(session.remoteSettings.enableConnectProtocol, true);
    const stream = session.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":scheme": "http",
      ":authority": "chat",
      ":path": path,
      "sec-websocket-version": "13",
    });
    stream.on("error", () => {});
    const [headers] = (await within("a response", once(stream, "response"))) as [Record<string, unknown>];
    assert.equal(headers["sec-websocket-accept"], undefined);
    assert.equal(headers["upgrade"], undefined);
    return { stream, status: Number(headers[":status"]) };
  }

  async function open(client: Version, app: Version): Promise<WebSocket> {
    const { port } = PORTS[app];
    if (client === "http2") {
      const { stream, status } = await askByHttp2(port, "/");
      assert.equal(status, 200);
      return overStream(stream, "client");
    }
    const socket = new WebSocket(`ws://${hostPort(shop.client.inside, port)}/`);
    await within("an open connection", once(socket, "open"));
    return socket;
  }

  for (const client of ["http1", "http2"] as const) {
    for (const app of ["http1", "http2"] as const) {
      test(`a client of ${client} and an application of ${app}`, async () => {
        const socket = await open(client, app);
        for (const size of [0, 1, 200, 70_000, 1024 * 1024]) {
          const sent = randomBytes(size);
          socket.send(sent);
          const [got, isBinary] = (await within(`${size} bytes`, once(socket, "message"))) as [Buffer, boolean];
          assert.ok(isBinary && got.equals(sent), `${size} bytes`);
        }
        socket.ping("ping");
        assert.equal(String((await within("a pong", once(socket, "pong")))[0]), "ping");
        socket.send("close");
        const [code, reason] = (await within("the close", once(socket, "close"))) as [number, Buffer];
        assert.deepEqual([code, reason.toString()], [4321, "asked to"]);
      });
    }
  }

  test("an application of HTTP/2 gets an extended CONNECT without what is HTTP/1.1's", async () => {
    heads.length = 0;
    const socket = await open("http1", "http2");
    socket.close();
    const [head] = heads;
    assert.deepEqual(
      [":method", ":protocol", ":path", ":authority", "sec-websocket-version"].map((name) => head?.[name]),
      ["CONNECT", "websocket", "/", hostPort(shop.client.inside, PORTS.http2.port), "13"],
    );
    for (const name of ["sec-websocket-key", "upgrade", "connection"]) assert.equal(head?.[name], undefined, name);
  });

  test("a refusal passes as what it is, and an application that does not take it is 501", async () => {
    const refused = new WebSocket(`ws://${hostPort(shop.client.inside, PORTS.http2.port)}/refused`);
    refused.on("error", () => {});
    const [, answer] = (await within("an answer", once(refused, "unexpected-response"))) as [
      unknown,
      { statusCode: number },
    ];
    assert.equal(answer.statusCode, 403);
    const { status } = await askByHttp2(PORTS.http2.port, "/refused");
    assert.equal(status, 403);
    assert.equal((await askByHttp2(PORTS.plain.port, "/")).status, 501);
  });
});
