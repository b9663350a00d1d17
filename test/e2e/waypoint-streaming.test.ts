// client → uproxy → waypoint → uproxy → application: nothing is gathered on the way. A GiB each way at once in constant memory (of
// HTTP/2, whose sessions are slower inside each other, a quarter of one), readers
// that hold senders back, and messages that come one by one, over HTTP/1.1 and HTTP/2. `waypoint-bodies` has the same of small bodies.
import assert from "node:assert/strict";
import { once } from "node:events";
import {
  connect as connectHttp2,
  createServer as createHttp2Server,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { after, before, describe, test } from "node:test";
import { crc32 } from "node:zlib";
import { formatHostPort as hostPort } from "@culvert/shared/net/ip.ts";
import { field } from "../support/http-message.ts";
import { request } from "../support/http-wire.ts";
import { memory } from "../support/proc.ts";
import { service } from "../support/resources.ts";
import { SHOP, startShop, type Shop } from "../support/shop.ts";
import { until, within } from "../support/until.ts";
import type { Script } from "../support/wire-app.ts";

const MIB = 1024 * 1024;
const WHOLE = { http1: 1024 * MIB, http2: 256 * MIB } as const;
/** What the waypoint may grow by, whatever passes. A process that has carried nothing yet grows to its working size as well. */
const MOST_GROWTH = 64;
const WHOLE_DEADLINE_MS = 180_000;

/** Port of the service `calls`, declared HTTP/2. */
const CALLS = 8701;

/** Answers with what it gets, as it comes. */
const mirror: Script = (socket, head, rest) => {
  const length = field(head, "content-length") ?? "";
  socket.write(`HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${length}\r\n\r\n`);
  socket.write(rest);
  socket.on("data", (chunk) => void (socket.write(chunk) || socket.pause()));
  socket.on("drain", () => socket.resume());
};

describe("streams through a waypoint", () => {
  let shop: Shop;
  let calls: Http2Server;
  let session: ClientHttp2Session;
  /** Streams of `/held` that the test plays the application of. */
  const held: ServerHttp2Stream[] = [];

  before(async () => {
    shop = await startShop({
      scripts: { "/mirror": mirror },
      more: () => [
        service("calls", [{ name: "grpc", port: CALLS, appProtocol: "kubernetes.io/h2c" }], {
          app: "shop",
          labels: { "istio.io/use-waypoint": "waypoint" },
        }),
      ],
      listeners: () => ({ [CALLS]: `calls:${CALLS}` }),
    });
    calls = createHttp2Server();
    calls.on("session", (each) => void each.on("error", () => {}));
    calls.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      stream.on("error", () => {});
      if (headers[":path"] === "/mirror") {
        stream.respond({ ":status": 200 });
        stream.on("data", (chunk: Buffer) => void (stream.write(chunk) || stream.pause()));
        stream.on("drain", () => stream.resume());
        stream.on("end", () => stream.end());
      } else if (headers[":path"] === "/held") held.push(stream);
      else stream.respond({ ":status": 200 }, { endStream: true });
    });
    await once(calls.listen(CALLS, shop.apps[0].address), "listening");
    session = connectHttp2(`http://${hostPort(shop.client.inside, CALLS)}`);
    session.on("error", () => {});
  });

  after(async () => {
    session.destroy();
    calls.close();
    await shop.mesh.stop();
  });

  function call(path: string): ClientHttp2Stream {
    const stream = session.request(
      { ":method": "POST", ":path": path, "content-type": "application/grpc", te: "trailers" },
      { endStream: false },
    );
    stream.on("error", () => {});
    return stream;
  }

  async function heldStream(): Promise<ServerHttp2Stream> {
    return until("the application's stream", () => held.shift());
  }

  function growth(): () => number {
    const { pid } = shop.waypoint.program;
    const atFirst = memory(pid).rss;
    return () => memory(pid).rss - atFirst;
  }

  test("what is larger than memory goes there and back at the same time: HTTP/1.1", async () => {
    const socket = connect({ host: shop.client.inside, port: SHOP.http, noDelay: true });
    socket.write(request("POST", "/mirror", { "content-length": String(WHOLE.http1) }));
    const head = await untilHead(socket);
    const peak = await thereAndBack(socket, WHOLE.http1, head, growth());
    assert.ok(peak < MOST_GROWTH, `the waypoint grew by ${peak.toFixed(1)} MiB`);
    socket.destroy();
    await shop.waypoint.access({ path: "/mirror", bytes_received: WHOLE.http1, bytes_sent: WHOLE.http1 });
  });

  test("what is larger than memory goes there and back at the same time: HTTP/2", async () => {
    const stream = call("/mirror");
    const peak = await thereAndBack(stream, WHOLE.http2, Buffer.alloc(0), growth());
    assert.ok(peak < MOST_GROWTH, `the waypoint grew by ${peak.toFixed(1)} MiB`);
    stream.end();
    await shop.waypoint.access({
      path: "/mirror",
      protocol: "HTTP/2",
      bytes_received: WHOLE.http2,
      bytes_sent: WHOLE.http2,
    });
  });

  test("who does not read holds the sender of his own stream back, both ways, and nobody else", async () => {
    const grown = growth();
    const up = call("/held");
    const app = await heldStream();
    const sentUp = await fill(up);
    const down = call("/held");
    const other = await heldStream();
    other.respond({ ":status": 200 });
    down.pause();
    const sentDown = await fill(other);
    assert.ok(sentUp < 32 * MIB && sentDown < 32 * MIB, `${sentUp} and ${sentDown} bytes went out`);
    assert.ok(grown() < MOST_GROWTH, `the waypoint grew by ${grown().toFixed(1)} MiB`);
    const quick = session.request({ ":path": "/quick" });
    const [headers] = (await within("an answer beside them", once(quick, "response"))) as [IncomingHttpHeaders];
    assert.equal(headers[":status"], 200);
    quick.resume();
    for (const [reader, expected] of [
      [app, sentUp],
      [down, sentDown],
    ] as const) {
      let got = 0;
      reader.on("data", (chunk: Buffer) => void (got += chunk.length));
      reader.resume();
      await until("all that was sent", () => got === expected);
    }
    for (const stream of [up, down, app, other]) stream.close();
  });

  test("messages come one by one while the call is open, both ways, and trailers at its end", async () => {
    const stream = call("/held");
    const app = await heldStream();
    app.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    app.on("wantTrailers", () => app.sendTrailers({ "grpc-status": "0" }));
    const [head] = (await within("the head alone", once(stream, "response"))) as [IncomingHttpHeaders];
    assert.equal(head["content-type"], "application/grpc");
    const [fromApp, fromClient] = [collect(stream), collect(app)];
    for (let i = 1; i <= 20; i += 1) {
      const message = `message ${i};`;
      stream.write(message);
      await until("the message at the application", () => fromClient().endsWith(message));
      app.write(message.toUpperCase());
      await until("its answer", () => fromApp().endsWith(message.toUpperCase()));
    }
    const trailers = once(stream, "trailers") as Promise<[IncomingHttpHeaders]>;
    app.end();
    assert.equal((await within("the trailers", trailers))[0]["grpc-status"], "0");
    stream.end();
  });
});

/** Everything that has come by now, as text. */
function collect(stream: Duplex): () => string {
  let text = "";
  stream.on("data", (chunk: Buffer) => void (text += chunk.toString("latin1")));
  return () => text;
}

/** Reads the head of an answer; returns what came of its body with it. */
async function untilHead(socket: Socket): Promise<Buffer> {
  let bytes = Buffer.alloc(0);
  while (!bytes.includes("\r\n\r\n")) {
    const [chunk] = (await within("the head of an answer", once(socket, "data"))) as [Buffer];
    bytes = Buffer.concat([bytes, chunk]);
  }
  socket.pause();
  return bytes.subarray(bytes.indexOf("\r\n\r\n") + 4);
}

/** Sends so many bytes and reads them back, held to its checksum; returns the highest growth on the way. */
async function thereAndBack(stream: Duplex, whole: number, first: Buffer, growth: () => number): Promise<number> {
  let got = first.length;
  let sumBack = crc32(first);
  let peak = 0;
  let looked = 0;
  stream.on("data", (chunk: Buffer) => {
    got += chunk.length;
    sumBack = crc32(chunk, sumBack);
    if (got - looked < 32 * MIB) return;
    looked = got;
    peak = Math.max(peak, growth());
  });
  stream.resume();
  let sum = 0;
  for (let sent = 0; sent < whole; sent += MIB) {
    const piece = Buffer.alloc(MIB, `piece ${sent}`);
    sum = crc32(piece, sum);
    if (!stream.write(piece)) await within("room", once(stream, "drain"), WHOLE_DEADLINE_MS);
  }
  await until("every byte", () => got === whole, WHOLE_DEADLINE_MS);
  assert.equal(sumBack, sum);
  return peak;
}

/** Writes until the other end holds it back for good; returns how much went out. */
async function fill(stream: Duplex): Promise<number> {
  const piece = Buffer.alloc(MIB, "f");
  let sent = 0;
  for (;;) {
    sent += piece.length;
    assert.ok(sent < 64 * MIB, "nothing holds it back");
    if (stream.write(piece)) continue;
    const isStalled = await Promise.race([once(stream, "drain").then(() => false), later()]);
    if (isStalled) return sent;
  }
}

/** What has stood still for this long is held back. */
function later(): Promise<boolean> {
  return new Promise((resolve) => {
    AbortSignal.timeout(500).addEventListener("abort", () => resolve(true));
  });
}
