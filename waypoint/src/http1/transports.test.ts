// The HTTP path between real ends. One thing: the same cases over TCP and over tunnels, with what both need to be played.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, createServer, Socket, type AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { acceptBulk } from "@culvert/shared/net/accept-bulk.ts";
import { connectBulk } from "@culvert/shared/net/connect-bulk.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { tunnelDuplex } from "@culvert/shared/tunnel/duplex.ts";
import { LOOPBACK, must, tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { observe, until, within } from "@culvert/test/support/until.ts";
import type { ByteChannel } from "../channel/channel.ts";
import { socketChannel } from "../channel/socket-channel.ts";
import { streamChannel } from "../channel/stream-channel.ts";
import { FakeServices } from "../exchange-fixtures.ts";
import { Http1Downstream } from "./downstream.ts";
import { DEFAULT_HTTP_LIMITS } from "../http/limits.ts";
import { Http1Shared } from "./shared-state.ts";
import { UpstreamConnections } from "../upstream/connections.ts";
import { UpstreamPool } from "./upstream-pool.ts";
import { Http2Shared } from "../http2/shared-state.ts";
import { Http2Pool } from "../http2/upstream-pool.ts";

/** A waypoint's HTTP path between real ends. */
interface Path {
  /** A new connection of a client. */
  dial(): Promise<Duplex>;
  readonly services: OpeningServices;
  /** The channels of the clients, as the waypoint has them. */
  readonly channels: ByteChannel[];
  close(): Promise<void>;
}

class OpeningServices extends FakeServices {
  readonly #open: () => Promise<ByteChannel>;

  constructor(open: () => Promise<ByteChannel>) {
    super();
    this.#open = open;
  }

  override open(): Promise<ByteChannel> {
    return this.#open();
  }
}

type App = (connection: Duplex) => void;

/** TCP on both sides. */
async function overSockets(app: App): Promise<Path> {
  const open: Duplex[] = [];
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    open.push(socket.on("error", () => {}));
    app(socket);
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  const appPort = (server.address() as AddressInfo).port;
  const target = { host: LOOPBACK, port: appPort, timeoutMs: 5000, clock: systemClock };
  const serve = serving(async () => socketChannel(must(await connectBulk(target))));
  const listener = must(
    await acceptBulk({
      host: "127.0.0.1",
      port: 0,
      onSocket: (socket) => serve.connection(socketChannel(socket, "downstream")),
    }),
  );
  return {
    ...serve,
    dial: async () => {
      const socket = connect({ host: "127.0.0.1", port: listener.address.port, allowHalfOpen: true, noDelay: true });
      open.push(socket.on("error", () => {}));
      await once(socket, "connect");
      return socket;
    },
    close: async () => {
      for (const socket of open) socket.destroy();
      await listener.close();
      await new Promise((resolve) => void server.close(resolve));
    },
  };
}

/** Tunnels with mutual TLS on both sides. */
async function overTunnels(app: App): Promise<Path> {
  const upstream = await tunnelPair({
    onRequest: (request) => {
      request.accept();
      app(tunnelDuplex(request.stream).on("error", () => {}));
    },
  });
  const serve = serving(async () => streamChannel((await upstream.open()).stream, "upstream"));
  const downstream = await tunnelPair({
    onRequest: (request) => {
      request.accept();
      serve.connection(streamChannel(request.stream, "downstream"));
    },
  });
  return {
    ...serve,
    dial: async () => tunnelDuplex((await downstream.open()).stream).on("error", () => {}),
    close: async () => {
      await downstream.close();
      await upstream.close();
    },
  };
}

function serving(open: () => Promise<ByteChannel>): Omit<Path, "dial" | "close"> & {
  connection(channel: ByteChannel): void;
} {
  const shared = new Http1Shared(DEFAULT_HTTP_LIMITS, systemClock);
  const connections = new UpstreamConnections(new UpstreamPool(shared), new Http2Pool(new Http2Shared(shared)));
  const services = new OpeningServices(open);
  const channels: ByteChannel[] = [];
  return {
    services,
    channels,
    connection: (channel) => {
      channels.push(channel);
      new Http1Downstream(channel, services, shared, connections).start();
    },
  };
}

/** Reads messages off a connection, one after another. */
class Reader {
  readonly connection: Duplex;
  #chunks: Buffer[] = [];
  #length = 0;
  #ended = false;
  #wake: (() => void) | undefined;

  constructor(connection: Duplex) {
    this.connection = connection;
    const stop = (): void => {
      this.#ended = true;
      this.#wake?.();
    };
    connection.on("end", stop).on("close", stop);
    connection.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      this.#wake?.();
    });
    connection.resume();
  }

  /** The next message: its head, and its body if that is whole. `undefined` when the connection ends before it. */
  async message(): Promise<{ head: string; body: Buffer | undefined } | undefined> {
    const head = await this.#through("\r\n\r\n");
    if (head === undefined) return undefined;
    const text = head.toString("latin1");
    const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text)?.[1];
    if (length !== undefined) return { head: text, body: await this.#take(Number(length)) };
    if (!/\r\ntransfer-encoding: chunked\r\n/i.test(text)) return { head: text, body: Buffer.alloc(0) };
    const parts: Buffer[] = [];
    for (;;) {
      const size = await this.#through("\r\n");
      const part = size === undefined ? undefined : await this.#take(Number.parseInt(size.toString(), 16) + 2);
      if (part === undefined) return { head: text, body: undefined };
      if (part.length === 2) return { head: text, body: Buffer.concat(parts) };
      parts.push(part.subarray(0, -2));
    }
  }

  async #through(mark: string): Promise<Buffer | undefined> {
    for (;;) {
      const at = this.#joined().indexOf(mark);
      if (at >= 0) return this.#take(at + mark.length);
      if (this.#ended) return undefined;
      await this.#more();
    }
  }

  async #take(length: number): Promise<Buffer | undefined> {
    while (this.#length < length) {
      if (this.#ended) return undefined;
      await this.#more();
    }
    const bytes = this.#joined();
    this.#chunks = [bytes.subarray(length)];
    this.#length -= length;
    return bytes.subarray(0, length);
  }

  #joined(): Buffer {
    const [first] = this.#chunks;
    if (first !== undefined && this.#chunks.length === 1) return first;
    const bytes = Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    return bytes;
  }

  #more(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }
}

/** Answers each request with its own body, in the framing that the request asks for. */
async function echo(connection: Duplex): Promise<void> {
  const reader = new Reader(connection);
  for (;;) {
    const request = await reader.message();
    if (request?.body === undefined) return;
    const { body } = request;
    if (request.head.startsWith("POST /chunked")) {
      connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      for (let at = 0; at < body.length; at += 30_000) writeChunk(connection, body.subarray(at, at + 30_000));
      connection.write("0\r\n\r\n");
    } else {
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
      connection.write(body);
    }
  }
}

function writeChunk(connection: Duplex, bytes: Buffer): void {
  connection.write(`${bytes.length.toString(16)}\r\n`);
  connection.write(bytes);
  connection.write("\r\n");
}

/** Ends a connection abruptly: a TCP socket by a reset, which `destroy` alone does not send. */
function breakOff(connection: Duplex): void {
  if (connection instanceof Socket) connection.resetAndDestroy();
  else connection.destroy();
}

const digest = (bytes: Buffer | undefined): string =>
  createHash("sha256")
    .update(bytes ?? "none")
    .digest("hex");

for (const [name, start] of [
  ["sockets", overSockets],
  ["tunnels", overTunnels],
] as const) {
  test(`over ${name}: bodies of one byte to megabytes, with length and in chunks`, async () => {
    const path = await start((connection) => void echo(connection));
    const client = await path.dial();
    const reader = new Reader(client);
    for (const size of [1, 100, 16_383, 65_537, 1_000_000, 6_000_000]) {
      const body = randomBytes(size);
      for (const chunked of [false, true]) {
        const target = chunked ? "/chunked" : "/length";
        client.write(`POST ${target} HTTP/1.1\r\nHost: reviews\r\n`);
        if (chunked) {
          client.write("Transfer-Encoding: chunked\r\n\r\n");
          for (let at = 0; at < size; at += 50_000) writeChunk(client, body.subarray(at, at + 50_000));
          client.write("0\r\n\r\n");
        } else {
          client.write(`Content-Length: ${size}\r\n\r\n`);
          client.write(body);
        }
        const answer = await within(`${size} bytes`, reader.message());
        assert.equal(digest(answer?.body), digest(body), `${size} bytes to ${target}`);
      }
    }
    client.end();
    await path.close();
  });

  test(`over ${name}: a thousand answers, byte for byte from the first one on`, async () => {
    const path = await start((connection) => void echo(connection));
    const client = await path.dial();
    const reader = new Reader(client);
    for (let i = 0; i < 1000; i += 1) {
      const body = `answer ${i} `.padEnd(64, "0123456789");
      client.write(`POST /length HTTP/1.1\r\nHost: reviews\r\nContent-Length: 64\r\n\r\n${body}`);
      const answer = await within("an answer", reader.message());
      assert.equal(answer?.head, "HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n");
      assert.equal(answer.body?.toString(), body);
    }
    client.end();
    await path.close();
  });

  test(`over ${name}: an application that breaks off is never taken for one that has finished`, async () => {
    const breaks: App[] = [
      (connection) => connection.destroy(),
      (connection) => connection.end("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
      (connection) => connection.end("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
      (connection) => {
        connection.write("HTTP/1.1 200 OK\r\n\r\nhalf");
        setImmediate(() => breakOff(connection));
      },
    ];
    for (const [index, broken] of breaks.entries()) {
      const path = await start((connection) => void connection.once("data", () => broken(connection)));
      const client = await path.dial();
      const reader = new Reader(client);
      client.write("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n");
      const answer = await within("the answer or the end", reader.message());
      if (index === 0) assert.match(answer?.head ?? "", /^HTTP\/1\.1 503 /);
      else {
        assert.equal(answer?.body, undefined);
        await until("a reset", () => client.errored !== null || client.destroyed);
      }
      await path.close();
    }
  });

  test(`over ${name}: a client that breaks off takes its request with it`, async () => {
    let seen: Duplex | undefined;
    const path = await start((connection) => {
      seen = connection;
      connection.resume();
    });
    const client = await path.dial();
    client.write("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n");
    await until("the request at the application", () => seen);
    breakOff(client);
    await until("its end", () => seen?.destroyed);
    assert.equal(path.services.records[0]?.code, "DOWNSTREAM_CLOSED");
    await path.close();
  });

  test(`over ${name}: a client that does not read costs a bounded memory`, async () => {
    const size = 40_000_000;
    const part = randomBytes(50_000);
    let written = 0;
    const path = await start((connection) => {
      const send = (): void => {
        while (written < size) {
          written += part.length;
          if (!connection.write(part)) return void connection.once("drain", send);
        }
      };
      connection.once("data", () => {
        connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
        send();
      });
    });
    const client = await path.dial();
    client.pause();
    client.write("GET / HTTP/1.1\r\nHost: reviews\r\n\r\n");
    let before = -1;
    let most = 0;
    await until("everything to stand still", async () => {
      most = Math.max(most, path.channels[0]?.queued ?? 0);
      if (written > 0 && written === before) return true;
      before = written;
      await observe(200);
      return false;
    });
    assert.ok(written < size, "the application was held back");
    assert.ok(most < 200_000, `${most} bytes waited in the waypoint`);
    const reader = new Reader(client);
    const answer = await within("the whole answer", reader.message());
    assert.equal(answer?.body?.length, size);
    await path.close();
  });

  test(`over ${name}: an application that does not read costs a bounded memory`, async () => {
    const size = 40_000_000;
    let app: Duplex | undefined;
    const path = await start((connection) => {
      app = connection.pause();
    });
    const channels: ByteChannel[] = [];
    const open = path.services.open.bind(path.services);
    path.services.open = async () => {
      const channel = await open();
      channels.push(channel);
      return channel;
    };
    const client = await path.dial();
    client.write(`POST / HTTP/1.1\r\nHost: reviews\r\nContent-Length: ${size}\r\n\r\n`);
    const part = randomBytes(50_000);
    let written = 0;
    const send = (): void => {
      while (written < size) {
        written += part.length;
        if (!client.write(part)) return void client.once("drain", send);
      }
    };
    send();
    let before = -1;
    let most = 0;
    await until("everything to stand still", async () => {
      most = Math.max(most, channels[0]?.queued ?? 0);
      if (app !== undefined && written === before) return true;
      before = written;
      await observe(200);
      return false;
    });
    assert.ok(written < size, "the client was held back");
    assert.ok(most < 200_000, `${most} bytes waited in the waypoint`);
    assert.ok(app !== undefined);
    const reader = new Reader(app);
    const request = await within("the whole request", reader.message());
    assert.equal(request?.body?.length, size);
    await path.close();
  });
}

test("a socket that cannot be reached is a failure", async () => {
  const server = createServer();
  await once(server.listen(0, "127.0.0.1"), "listening");
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => void server.close(resolve));
  assert.ok(isFailure(await connectBulk({ host: LOOPBACK, port, timeoutMs: 1000, clock: systemClock })));
});
