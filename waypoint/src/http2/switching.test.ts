// WebSocket over both versions of HTTP, each on either side of a whole waypoint.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import { connect, type ClientHttp2Session, type ClientHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import { after, before, describe, test } from "node:test";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import { must } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { websocketAccept } from "../http/websocket.ts";
import { ask, Http2App } from "../http2-fixtures.ts";
import { service, servicePort } from "../mesh-fixtures.ts";
import { Bench, readAll, type Serve } from "../waypoint-fixtures.ts";

const H2 = servicePort({ name: "h2", port: 7002, targetPort: 7002, appProtocol: "http2" });
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const HANDSHAKE = { "sec-websocket-version": "13", "sec-websocket-protocol": "chat" };

/** Answers each word in upper case, and a last one after the end. */
function shout(stream: Duplex): void {
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => void stream.write(chunk.toString("latin1").toUpperCase()));
  stream.on("end", () => void stream.end("BYE"));
}

function handshake(client: ClientHttp2Session, path: string): ClientHttp2Stream {
  const head = { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ":path": path, ...HANDSHAKE };
  return client.request(head, { endStream: false }).on("error", () => {});
}

async function converse(stream: Duplex): Promise<void> {
  const heard = readAll(stream);
  stream.write("one ");
  stream.end("two");
  assert.equal(await heard, "ONE TWOBYE");
}

describe("WebSocket", () => {
  const bench = new Bench();
  const newer = new Http2App({ settings: { enableConnectProtocol: true } });
  const told: string[] = [];
  const open: { destroy(): unknown }[] = [];

  const older: Serve = (connection) => {
    const server = createServer((_request, response) => void response.writeHead(426).end("no"));
    server.on("upgrade", (request, socket: Duplex) => {
      told.push(String(request.headers["sec-websocket-key"]));
      const accept = websocketAccept(request.url === "/liar" ? "other" : (told.at(-1) ?? ""));
      const lines = ["HTTP/1.1 101 Switching Protocols", "connection: upgrade", "upgrade: websocket"];
      socket.write(
        `${[...lines, `sec-websocket-accept: ${accept}`, "sec-websocket-protocol: chat"].join("\r\n")}\r\n\r\n`,
      );
      shout(socket);
    });
    server.emit("connection", connection);
  };

  before(async () => {
    newer.onStream = (stream, headers) => {
      told.push(String(headers["sec-websocket-key"]));
      if (headers[":path"] === "/no") return stream.respond({ ":status": 403 }, { endStream: true });
      stream.respond({ ":status": 200, "sec-websocket-protocol": "chat" });
      return headers[":path"] === "/cut" ? resetStream(stream, 8) : shout(stream);
    };
    const workloads = [await bench.app("newer-1", newer.serve), await bench.app("older-1", older)];
    await bench.use({ services: [service("default/newer", { ports: [H2] }), service("default/older")], workloads });
    await bench.start();
  });
  after(async () => {
    for (const each of open) each.destroy();
    await bench.stop();
  });

  async function session(authority: string): Promise<ClientHttp2Session> {
    const connection = must(await bench.open(authority));
    const made = connect(`http://${authority}`, { createConnection: () => connection });
    made.on("error", () => {});
    open.push(made);
    await once(made, "remoteSettings");
    return made;
  }

  for (const authority of ["newer.default:7002", "older.default:9080"]) {
    test(`from HTTP/2 to ${authority}: bytes and half-closes both ways`, async () => {
      const stream = handshake(await session(authority), "/");
      const [head] = (await once(stream, "response")) as [Record<string, string>];
      assert.equal(head[":status"], 200);
      assert.equal(head["sec-websocket-accept"], undefined);
      assert.equal(head["sec-websocket-protocol"], "chat");
      await converse(stream);
      assert.match(told.at(-1) ?? "", authority.startsWith("newer") ? /^undefined$/ : /^[\w+/]{22}==$/);
      const line = await until("the line", () => bench.lines.find((each) => each["authority"] === authority));
      assert.equal(line["code"], undefined);
    });
  }

  test("from HTTP/1.1 to HTTP/2", async () => {
    const connection = must(await bench.open("newer.default:7002"));
    const headers = {
      connection: "upgrade",
      upgrade: "websocket",
      "sec-websocket-key": KEY,
      host: "newer",
      ...HANDSHAKE,
    };
    const asked = httpRequest({ createConnection: () => connection, headers, path: "/" });
    asked.end();
    const [response, socket] = (await once(asked, "upgrade")) as [{ headers: Record<string, string> }, Duplex];
    assert.equal(response.headers["sec-websocket-accept"], websocketAccept(KEY));
    assert.equal(response.headers["sec-websocket-protocol"], "chat");
    await converse(socket);
    assert.equal(told.at(-1), "undefined");
  });

  test("what is refused is an answer, what is cut is cut, what is not proved is no answer", async () => {
    const client = await session("newer.default:7002");
    const head = { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http", ...HANDSHAKE };
    assert.equal((await ask(client, { ...head, ":path": "/no" }, "")).status, 403);
    const cut = handshake(client, "/cut");
    cut.resume();
    await new Promise((resolve) => cut.on("close", resolve));
    assert.notEqual(cut.rstCode, 0);
    const other = await session("older.default:9080");
    assert.equal((await ask(other, { ...head, ":path": "/liar" }, "")).status, 502);
  });

  test("a client that goes takes the application's side with it", async () => {
    const stream = handshake(await session("newer.default:7002"), "/");
    await once(stream, "response");
    resetStream(stream, 8);
    await until("the line", () => bench.lines.find((each) => each["code"] === "DOWNSTREAM_CLOSED"));
  });
});
