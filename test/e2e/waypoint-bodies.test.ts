// app → uproxy → waypoint → uproxy → app: bodies of every framing, readers that do not read, and ends that come too early. Everything
// here is said by hand, byte for byte.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import type { Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { field } from "../support/http-message.ts";
import { request, verdictOf } from "../support/http-wire.ts";
import { memory } from "../support/proc.ts";
import { startShop, type Shop } from "../support/shop.ts";
import { until } from "../support/until.ts";
import { seenIn, type Script } from "../support/wire-app.ts";

const MIB = 1024 * 1024;

/** Connections that scripts have taken over and left to the test. */
const held: Socket[] = [];

// Whoever takes over a connection also says that it will not be used again.

/** Answers with what it gets, as it comes. */
const mirror: Script = (socket, head, rest) => {
  const framing = field(head, "content-length");
  const line = framing === undefined ? "transfer-encoding: chunked" : `content-length: ${framing}`;
  socket.write(`HTTP/1.1 200 OK\r\nconnection: close\r\n${line}\r\n\r\n`);
  socket.write(rest);
  socket.on("data", (chunk) => void (socket.write(chunk) || socket.pause()));
  socket.on("drain", () => socket.resume());
};

/** Says something as soon as it has the head of the request, and reads no more. */
function atOnce(text: string): Script {
  return (socket) => void socket.pause().write(text, "latin1");
}

/** Says something and ends. */
function ends(text: string): Script {
  return (socket) => void socket.end(text, "latin1");
}

const scripts: Readonly<Record<string, Script>> = {
  "/mirror": mirror,
  "/held": (socket) => {
    socket.pause();
    held.push(socket);
  },
  "/to-the-end": ends("HTTP/1.1 200 OK\r\n\r\nall of it"),
  "/too-large": atOnce("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno"),
  "/breaks-off": ends("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this"),
  "/resets": (socket) => socket.resetAndDestroy(),
  "/ends": (socket) => socket.end(),
  "/garbage": "SSH-2.0-OpenSSH_9.2\r\n\r\n",
  "/bye": ends("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbye"),
};

describe("bodies through a waypoint", () => {
  let shop: Shop;

  before(async () => {
    shop = await startShop({ scripts });
  });

  after(() => shop.mesh.stop());

  test("a body that ends with its connection is chunked for the client, whose connection goes on", async () => {
    const wire = await shop.dial();
    const answer = await wire.get("/to-the-end");
    assert.equal(answer.text, "all of it");
    assert.equal(field(answer.head, "transfer-encoding"), "chunked");
    assert.equal((await wire.get("/")).status, 200);
    wire.close();
  });

  test("an early refusal of an upload reaches the client that still sends", async () => {
    const wire = await shop.dial();
    wire.send(request("POST", "/too-large", { "content-length": String(8 * MIB) }));
    wire.send(Buffer.alloc(MIB));
    const answer = await wire.answer();
    assert.deepEqual([answer.status, answer.text, field(answer.head, "connection")], [413, "no", "close"]);
    wire.close();
  });

  for (const [how, frame] of [
    ["content-length", (body: Buffer) => [`content-length: ${body.length}\r\n\r\n`, body]],
    ["chunked", (body: Buffer) => [`transfer-encoding: chunked\r\n\r\n`, ...chunked(body, 10_007)]],
  ] as const) {
    test(`a mebibyte goes there and back, ${how}`, async () => {
      const body = randomBytes(MIB);
      const wire = await shop.dial();
      wire.send("POST /mirror HTTP/1.1\r\nhost: shop\r\n");
      for (const part of frame(body)) wire.send(part);
      const answer = await wire.answer();
      assert.ok(answer.body.equals(body));
      wire.close();
      const line = await shop.waypoint.access({ path: "/mirror", bytes_received: MIB, bytes_sent: MIB });
      assert.equal(line["response_code"], 200);
    });
  }

  test("an application that does not read holds the client back, and the waypoint keeps next to nothing", async () => {
    const size = 96 * MIB;
    const piece = Buffer.alloc(MIB, "u");
    const wire = await shop.dial();
    const atFirst = memory(shop.waypoint.program.pid).anon;
    wire.send(request("POST", "/held/up", { "content-length": String(size) }));
    const app = await takeHeld();
    let sent = 0;
    for (let stalled = false; !stalled; sent += piece.length) {
      stalled = !wire.socket.write(piece) && !(await drainedSoon(wire.socket as Socket));
    }
    assert.ok(sent < size / 2, `${sent / MIB} MiB of ${size / MIB} went out although nobody reads`);
    const grown = memory(shop.waypoint.program.pid).anon - atFirst;
    assert.ok(grown < 24, `the waypoint grew by ${grown.toFixed(1)} MiB`);
    let got = 0;
    app.on("data", (chunk: Buffer) => {
      got += chunk.length;
      if (got === size) app.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    app.resume();
    while (sent < size) {
      if (!wire.socket.write(piece)) await once(wire.socket, "drain");
      sent += piece.length;
    }
    assert.equal((await wire.answer()).status, 200);
    assert.equal(got, size);
    wire.close();
  });

  test("a client that does not read holds the application back, and still gets every byte", async () => {
    const size = 96 * MIB;
    const piece = Buffer.alloc(MIB, "d");
    const wire = await shop.dial();
    const atFirst = memory(shop.waypoint.program.pid).anon;
    wire.socket.pause();
    wire.send(request("GET", "/held/down"));
    const app = await takeHeld();
    app.write(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${size}\r\n\r\n`);
    let sent = 0;
    for (let stalled = false; !stalled; sent += piece.length) {
      stalled = !app.write(piece) && !(await drainedSoon(app));
    }
    assert.ok(sent < size / 2, `${sent / MIB} MiB of ${size / MIB} went out although nobody reads`);
    const grown = memory(shop.waypoint.program.pid).anon - atFirst;
    assert.ok(grown < 24, `the waypoint grew by ${grown.toFixed(1)} MiB`);
    let got = 0;
    wire.socket.removeAllListeners("data");
    wire.socket.on("data", (chunk: Buffer) => void (got += chunk.length));
    wire.socket.resume();
    while (sent < size) {
      if (!app.write(piece)) await once(app, "drain");
      sent += piece.length;
    }
    await until("every byte", () => got > size);
    wire.close();
  });

  test("a client that has closed its half gets its answer, then the end", async () => {
    const wire = await shop.dial();
    wire.send(request("GET", "/half"));
    wire.finish();
    assert.equal(seenIn(await wire.answer()).line, "GET /half HTTP/1.1");
    assert.equal(await wire.ended(), "end");
    wire.close();
  });

  test("a client that leaves takes its request with it, and the log says so", async () => {
    const wire = await shop.dial();
    wire.send(request("GET", "/held/left"));
    const app = await takeHeld();
    app.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nsome");
    await until("the begin of the answer", () => wire.unread.includes("some"));
    app.resume();
    (wire.socket as Socket).resetAndDestroy();
    await until("the end at the application", () => app.destroyed);
    const line = await shop.waypoint.access({ path: "/held/left" });
    assert.deepEqual([line["code"], line["response_flags"]], ["DOWNSTREAM_CLOSED", "DC"]);
  });

  test("a truncated answer never looks whole", async () => {
    const wire = await shop.dial();
    wire.send(request("GET", "/breaks-off"));
    assert.notEqual(await wire.ended(), "end");
    wire.close();
    await shop.waypoint.access({ path: "/breaks-off", code: "UPSTREAM_RESPONSE_TRUNCATED", response_code: 200 });
  });

  test("an application without a proper answer is 502 or 503 with a code, and the connection goes on", async () => {
    const wire = await shop.dial();
    assert.equal(verdictOf(await wire.get("/ends")), "503 UPSTREAM_RESPONSE_TRUNCATED");
    assert.match(verdictOf(await wire.get("/resets")), /^503 (PEER_RESET|APP_RESET)$/);
    assert.equal(verdictOf(await wire.get("/garbage")), "502 UPSTREAM_RESPONSE_MALFORMED");
    assert.equal((await wire.get("/")).status, 200);
    wire.close();
  });

  test("an application may close a connection that it kept: no request is lost", async () => {
    const wire = await shop.dial();
    for (let i = 0; i < 20; i++) {
      assert.equal((await wire.get("/bye")).text, "bye");
      assert.equal((await wire.get(`/after-${i}`)).status, 200);
    }
    wire.close();
  });
});

function takeHeld(): Promise<Socket> {
  return until("the application's connection", () => held.shift());
}

function* chunked(body: Buffer, size: number): Generator<string | Buffer> {
  for (let at = 0; at < body.length; at += size) {
    const part = body.subarray(at, at + size);
    yield `${part.length.toString(16)}\r\n`;
    yield part;
    yield "\r\n";
  }
  yield "0\r\n\r\n";
}

/** Whether a full socket has room again before long: what has stood still for this long is held back. */
async function drainedSoon(socket: Socket): Promise<boolean> {
  const stop = new AbortController();
  const late = new Promise<boolean>((resolve) => {
    AbortSignal.timeout(400).addEventListener("abort", () => resolve(false));
  });
  const drained = once(socket, "drain", { signal: stop.signal }).then(
    () => true,
    () => false,
  );
  const result = await Promise.race([drained, late]);
  stop.abort();
  return result;
}
