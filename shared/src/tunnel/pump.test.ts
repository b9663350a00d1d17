// What applications see of a tunnel: every byte, the half-closes, and the resets, between real sockets.
import { equal, ok } from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { after, before, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { startRelay } from "@culvert/test/support/relay.ts";
import type { Relay } from "@culvert/test/support/relay.ts";
import { converse, dial } from "@culvert/test/support/tcp.ts";
import { tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { fail, isFailure } from "../failure/failure.ts";
import { connectBulk } from "../net/connect-bulk.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "./limits.ts";
import { pump } from "./pump.ts";

const HOST = "127.0.0.1";
const MIB = 1024 * 1024;
/** What one turn gathers, and a chunk. */
const MOST_GATHERED = 256 * 1024 + 64 * 1024;

/** The application of a test, by the first word that the client sends. */
const applications = new Map<string, (socket: Socket, rest: Buffer) => void>();
let relay: Relay;

before(async () => {
  relay = await startRelay((socket) => {
    socket.once("data", (chunk: Buffer) => {
      const space = chunk.indexOf(" ");
      applications.get(chunk.toString("latin1", 0, space))?.(socket, chunk.subarray(space + 1));
    });
  });
});
after(() => relay.close());

applications.set("echo", (socket, rest) => {
  socket.write(rest);
  socket.on("data", (chunk) => void socket.write(chunk));
  socket.on("end", () => socket.end("bye"));
});

applications.set("digest", (socket, rest) => {
  const hash = createHash("sha256").update(rest);
  socket.on("data", (chunk) => void hash.update(chunk));
  socket.on("end", () => socket.end(hash.digest("hex")));
});

applications.set("send", (socket, rest) => {
  const bytes = Number(rest.toString());
  socket.end(Buffer.alloc(bytes, "x"));
});

test("the client ends first, a thousand times", async () => {
  const ends = relay.clientSide.length;
  await inParallel(1_000, 50, async (index) => {
    const text = `echo hello ${index} `;
    const { received, ended } = await converse(HOST, relay.port, text);
    equal(received.toString(), `${text.slice(5)}bye`);
    equal(ended, "end");
  });
  await until(
    "the pumps to end",
    () => relay.clientSide.length === ends + 1_000 && relay.appSide.length >= ends + 1_000,
  );
  for (const ended of [...relay.clientSide, ...relay.appSide]) equal(ended.failure, undefined);
  equal(relay.pair.pool.stats().sessions, 1);
});

test("the application ends first, a thousand times, and hears what comes after", async () => {
  const heard: string[] = [];
  applications.set("first", (socket, rest) => {
    let text = rest.toString();
    socket.end("done");
    socket.on("data", (chunk: Buffer) => void (text += chunk.toString()));
    socket.on("end", () => void heard.push(text));
  });
  await inParallel(1_000, 50, async (index) => {
    const connection = await dial(HOST, relay.port);
    connection.send("first ");
    equal(await connection.ended(), "end");
    equal(connection.received.toString(), "done");
    connection.finish(`late ${index}`);
    await once(connection.socket, "close");
  });
  await until("all late words", () => heard.length === 1_000);
  equal(new Set(heard).size, 1_000);
});

test("bulk in both directions at once, over parallel streams, arrives as it was sent", async () => {
  await inParallel(8, 8, async () => {
    const data = randomBytes(6 * MIB + 12_345);
    const { received } = await converse(HOST, relay.port, Buffer.concat([Buffer.from("digest "), data]));
    equal(received.toString(), createHash("sha256").update(data).digest("hex"));
    const echo = await dial(HOST, relay.port);
    echo.send("echo ");
    echo.finish(data);
    equal(await echo.ended(), "end");
    equal(echo.received.length, data.length + 3);
    ok(echo.received.subarray(0, data.length).equals(data));
    echo.close();
  });
});

test("resets in mid-transfer harm no other stream's bytes", async () => {
  let stop = false;
  const aborting = inParallel(200, 4, async () => {
    if (stop) return;
    const connection = await dial(HOST, relay.port);
    connection.send(Buffer.concat([Buffer.from("echo "), Buffer.alloc(MIB, 0xee)]));
    await connection.bytes(100_000);
    connection.reset();
  });
  await inParallel(6, 3, async () => {
    const data = randomBytes(4 * MIB);
    const { received } = await converse(HOST, relay.port, Buffer.concat([Buffer.from("digest "), data]));
    equal(received.toString(), createHash("sha256").update(data).digest("hex"));
  });
  stop = true;
  await aborting;
});

test("a reset by the client reaches the application as a reset", async () => {
  const seen: string[] = [];
  applications.set("watch", (socket) => {
    socket.write("ready");
    socket.on("error", (error: NodeJS.ErrnoException) => void seen.push(error.code ?? ""));
    socket.on("end", () => void seen.push("end"));
    socket.resume();
  });
  const connection = await dial(HOST, relay.port);
  connection.send("watch ");
  await connection.bytes(5);
  connection.reset();
  await until("the application to see it", () => seen.length > 0);
  equal(seen[0], "ECONNRESET");
  await until("both pumps", () => relay.appSide.at(-1)?.failure?.code === "DOWNSTREAM_CLOSED");
  equal(relay.clientSide.at(-1)?.failure?.code, "DOWNSTREAM_CLOSED");
});

test("a reset by the application reaches the client as a reset, also in mid-transfer", async () => {
  applications.set("reset", (socket, rest) => {
    const bytes = Number(rest.toString());
    if (bytes === 0) socket.resetAndDestroy();
    else socket.write(Buffer.alloc(bytes, "x"), () => socket.resetAndDestroy());
  });
  for (const bytes of [0, 10, 300_000, 3 * MIB]) {
    const { received, ended } = await converse(HOST, relay.port, `reset ${bytes}`);
    equal(ended, "ECONNRESET", `after ${bytes} bytes, got ${received.length}`);
  }
  await until("both pumps", () => relay.appSide.at(-1)?.failure?.code === "APP_RESET");
  equal(relay.clientSide.at(-1)?.failure?.code, "PEER_RESET");
});

test("an application that reads no more but was answered whole looks like any closed peer", async () => {
  applications.set("close", (socket) => {
    socket.end("all of it", () => setImmediate(() => socket.destroy()));
  });
  const connection = await dial(HOST, relay.port);
  connection.send("close ");
  equal(await connection.ended(), "end");
  equal(connection.received.toString(), "all of it");
  connection.socket.on("error", () => {});
  while (!connection.socket.destroyed) {
    connection.send("x");
    await turn();
  }
});

test("a reader that stalls is waited for, holds little, and harms no sibling", async () => {
  const stalled = await dial(HOST, relay.port);
  stalled.socket.pause();
  const carried = relay.carried.length;
  stalled.send(`send ${64 * MIB}`);
  const { pump: stalling, client, tunnel } = await until("its pump", () => relay.carried[carried]);
  let last = -1;
  await until("the stall", async () => {
    const previous = last;
    last = stalling.toSocket;
    await converse(HOST, relay.port, "send 1000000");
    return last > 0 && last === previous;
  });
  const sibling = await converse(HOST, relay.port, `send ${32 * MIB}`);
  equal(sibling.received.length, 32 * MIB);
  equal(stalling.toSocket, last);
  const heldBytes = client.socket.writableLength + tunnel.stream.readableLength;
  ok(heldBytes <= limits.streamWindow + MOST_GATHERED, `${heldBytes} bytes are held for the stalled reader`);
  stalled.socket.resume();
  await stalled.bytes(64 * MIB);
  equal(await stalled.ended(), "end");
  stalled.close();
});

test("abort ends both sides by a reset and tells why", async () => {
  const connection = await dial(HOST, relay.port);
  connection.send("echo x");
  await connection.bytes(1);
  relay.carried.at(-1)?.pump.abort(fail("POLICY_CHANGED", "in a test"));
  equal(await connection.ended(), "ECONNRESET");
  await until("the pump", () => relay.clientSide.at(-1)?.failure?.code === "POLICY_CHANGED");
  equal(relay.clientSide.at(-1)?.fromSocket, 6);
  equal(relay.clientSide.at(-1)?.toSocket, 1);
});

test("a half-closed tunnel that stays silent is ended, one that speaks is not", async () => {
  const clock = new FakeClock();
  const sockets: Socket[] = [];
  const app = createServer(
    { allowHalfOpen: true },
    (socket) => void sockets.push(socket.on("error", () => {}).resume()),
  );
  await new Promise<void>((resolve) => void app.listen(0, HOST, resolve));
  const { port } = app.address() as AddressInfo;
  const pair = await tunnelPair();
  const { opened, accepted } = await pair.tunnel();
  const socket = await connectBulk({ host: HOST, port, timeoutMs: 5_000, clock });
  ok(!isFailure(socket));
  const running = pump(socket, accepted.stream, { clock, streamLeads: "downstream", halfClosedIdleMs: 1_000 });
  opened.stream
    .on("error", () => {})
    .resume()
    .end();
  const appSocket = await until("the application to hear the end", () =>
    sockets.find(({ readableEnded }) => readableEnded),
  );
  clock.advance(900);
  appSocket.write("still here");
  await until("its words", () => running.fromSocket > 0);
  clock.advance(1_000);
  equal(opened.stream.closed, false);
  clock.advance(1_000);
  equal((await running.ended).failure?.code, "DOWNSTREAM_CLOSED");
  await until("the reset", () => opened.stream.closed);
  await pair.close();
  appSocket.destroy();
  await new Promise((resolve) => app.close(resolve));
});

test("tunnels that end by a reset, two thousand in a row, do not cost the session", async () => {
  const failed = relay.pair.poolEvents.length;
  await inParallel(2_000, 50, async () => {
    const connection = await dial(HOST, relay.port);
    connection.send("echo x");
    await connection.bytes(1);
    connection.reset();
  });
  const { received } = await converse(HOST, relay.port, "echo still here ");
  equal(received.toString(), "still here bye");
  equal(relay.pair.poolEvents.length, failed);
});

test("a session that is lost is a reset for every client, never an end", async () => {
  const connections = await Promise.all(Array.from({ length: 20 }, () => dial(HOST, relay.port)));
  for (const connection of connections) connection.send("echo x");
  await Promise.all(connections.map((connection) => connection.bytes(1)));
  const lost = relay.clientSide.length;
  relay.pair.server.close();
  for (const connection of connections) equal(await connection.ended(), "ECONNRESET");
  await until("all pumps", () => relay.clientSide.length === lost + 20);
  equal(relay.clientSide.at(-1)?.failure?.code, "PEER_LOST");
});

async function inParallel(count: number, width: number, run: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      while (next < count) await run(next++);
    }),
  );
}
