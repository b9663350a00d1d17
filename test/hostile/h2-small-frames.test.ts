// Hostile DATA frames of one byte (H6) to whoever does not read: what waits for a reader costs about what it weighs, at both ends of
// a tunnel and on the way to the app, and every byte of it arrives once it is read. Honest apps that write single bytes do not notice.
import { deepEqual, equal, ok } from "node:assert/strict";
import { once } from "node:events";
import type { Socket } from "node:net";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import type { TunnelRequest } from "@culvert/shared/tunnel/request.ts";
import { stalledTunnels } from "@culvert/shared/tunnel/stalled.ts";
import * as h2 from "../support/h2-raw.ts";
import type { RawH2 } from "../support/h2-raw.ts";
import { held } from "../support/neighbour.ts";
import { startRelay } from "../support/relay.ts";
import { dial } from "../support/tcp.ts";
import { must, tunnelCast, tunnelPair } from "../support/tunnel-pair.ts";
import { until, within } from "../support/until.ts";

const MIB = 1024 * 1024;
/** As many single bytes took 27 MiB, a hundred for each. */
const HELD_MIB = 12;
const BYTES = 250_000;
const BATCH = 1_000;
/** Each keeps another read of the receiver alive, unless it is copied. */
const SPREAD = 4_000;
const BETWEEN = h2.frame(0xfa, 0, 0, Buffer.alloc(14_000));
const LARGE = 16_000;
/** What somebody types, and what somebody pastes into a program that writes byte by byte. */
const KEYS = 200;
const PASTED = 20_000;

/** The byte at that place of a flood. */
function byteAt(index: number): number {
  return index % 251;
}

/** The bytes from `start` to `end` of a flood. */
function bytes(start: number, end: number): Buffer {
  return Buffer.from(Array.from({ length: end - start }, (_, index) => byteAt(start + index)));
}

/** Bytes `start` to `end` in frames of one byte on stream 1; after each `batch` of them comes `between`. */
async function flood(raw: RawH2, start: number, end: number, batch: number, between?: Buffer): Promise<void> {
  for (let sent = start; sent < end; sent += batch) {
    const frames = Array.from({ length: Math.min(batch, end - sent) }, (_, index) =>
      h2.data(1, bytes(sent + index, sent + index + 1)),
    );
    await raw.sendAll(...frames, ...(between === undefined ? [] : [between]));
    await turn();
  }
}

/** Sends large frames on stream 1 until its reader has stopped the sender. Returns the bytes sent and the window that is left. */
async function fill(raw: RawH2): Promise<{ readonly sent: number; readonly window: number }> {
  let sent = 0;
  let window = DEFAULT_TUNNEL_LIMITS.streamWindow;
  raw.onFrame = ({ type, stream, payload }) => {
    if (type === h2.TYPE.WINDOW_UPDATE && stream === 1) window += payload.readUInt32BE(0);
  };
  await until("the reader to stop us", async () => {
    if (window >= LARGE && stalledTunnels.count === 0) {
      await raw.sendAll(h2.data(1, bytes(sent, sent + LARGE)));
      sent += LARGE;
      window -= LARGE;
    }
    await turn();
    return stalledTunnels.count > 0;
  });
  return { sent, window };
}

/** What this process holds, buffers included. */
function heldBytes(): number {
  const { heapBytes } = held();
  return heapBytes + process.memoryUsage().arrayBuffers;
}

/** By how much that has grown once `work` is done, in MiB. Buffers that nobody holds are given back a while after they were collected. */
async function grownBy(work: () => Promise<void>): Promise<number> {
  const before = heldBytes();
  await work();
  let least = Infinity;
  const givenBack = until("buffers to be given back", () => {
    least = Math.min(least, (heldBytes() - before) / MIB);
    return least < HELD_MIB;
  });
  // What is held all the same is told by whoever asked.
  await givenBack.catch(() => undefined);
  return least;
}

/** Holds what came to the bytes that were sent. */
function inOrder(): { take(chunk: Buffer): void; readonly count: number } {
  let count = 0;
  return {
    take(chunk) {
      for (const byte of chunk) {
        if (byte !== byteAt(count)) throw new Error(`byte ${count} is ${byte}`);
        count += 1;
      }
    },
    get count() {
      return count;
    },
  };
}

async function hostileClient(port: number): Promise<RawH2> {
  const { client } = await tunnelCast();
  const raw = await h2.connectRaw(port, client);
  raw.keep = raw.frames.length + 16;
  raw.send(h2.headers(1, h2.connectFields()));
  return raw;
}

for (const [what, count, batch, between] of [
  ["in a row", BYTES, BATCH, undefined],
  ["between other frames", SPREAD, 1, BETWEEN],
] as const) {
  test(`H6 single bytes ${what} in a tunnel that is not yet decided`, async (context) => {
    const arrived = Promise.withResolvers<TunnelRequest>();
    const pair = await tunnelPair({ onRequest: arrived.resolve });
    context.after(() => pair.close());
    const raw = await hostileClient(pair.server.address.port);
    context.after(() => raw.close());
    const { stream } = await arrived.promise;
    const grown = await grownBy(async () => {
      await flood(raw, 0, count, batch, between);
      await until("the flood", () => stream.readableLength === count);
    });
    ok(grown < HELD_MIB, `${grown.toFixed(1)} MiB are held`);
    const seen = inOrder();
    stream.on("data", (chunk: Buffer) => seen.take(chunk));
    await until("every byte", () => seen.count === count);
  });

  test(`H6 single bytes ${what} to an app that does not read`, async (context) => {
    const reader = Promise.withResolvers<Socket>();
    const relay = await startRelay((socket) => reader.resolve(socket.pause()));
    context.after(() => relay.close());
    const raw = await hostileClient(relay.pair.server.address.port);
    context.after(() => raw.close());
    const app = await reader.promise;
    const { sent, window } = await fill(raw);
    const end = sent + Math.min(count, window);
    const grown = await grownBy(() => flood(raw, sent, end, batch, between));
    ok(grown < HELD_MIB, `${grown.toFixed(1)} MiB are held`);
    raw.send(h2.data(1, "", h2.FLAG.END_STREAM));
    const seen = inOrder();
    app.on("data", (chunk: Buffer) => seen.take(chunk)).resume();
    await within("the end", once(app, "end"));
    equal(seen.count, end);
    app.end();
    await until("the end of the tunnel", () => relay.appSide.length === 1);
    equal(relay.appSide[0]?.failure, undefined);
  });

  test(`H6 single bytes ${what} from a server to a client that does not read`, async (context) => {
    const cast = await tunnelCast();
    const peers: RawH2[] = [];
    const peer = await h2.listenRaw(cast.server, (raw) => {
      peers.push(raw);
      raw.send(h2.settings(), h2.settingsAck());
      void raw.frame(({ type }) => type === h2.TYPE.HEADERS).then(() => raw.send(h2.headers(1, [[":status", "200"]])));
    });
    context.after(() => peer.close());
    const pair = await tunnelPair();
    context.after(() => pair.close());
    const request = { authority: "10.0.0.1:80", headers: {} };
    const { stream } = must(await pair.pool.open({ ...pair.target, port: peer.port }, request));
    const [raw] = peers;
    ok(raw);
    raw.keep = raw.frames.length;
    const grown = await grownBy(async () => {
      await flood(raw, 0, count, batch, between);
      await until("the flood", () => stream.readableLength === count);
    });
    ok(grown < HELD_MIB, `${grown.toFixed(1)} MiB are held`);
    const seen = inOrder();
    stream.on("data", (chunk: Buffer) => seen.take(chunk));
    await until("every byte", () => seen.count === count);
  });
}

test("honest apps that write single bytes, one by one and many at once, get every one of them back", async (context) => {
  const relay = await startRelay((socket) => {
    socket.on("data", (chunk: Buffer) => {
      for (const byte of chunk) socket.write(Buffer.of(byte));
    });
    socket.on("end", () => socket.end());
  });
  context.after(() => relay.close());
  const client = await dial("127.0.0.1", relay.port);
  for (let typed = 0; typed < KEYS; typed++) {
    client.send(bytes(typed, typed + 1));
    await client.bytes(typed + 1);
  }
  for (let typed = KEYS; typed < KEYS + PASTED; typed++) client.send(bytes(typed, typed + 1));
  client.finish();
  equal(await client.ended(), "end");
  ok(client.received.equals(bytes(0, KEYS + PASTED)));
  await until("both ends", () => relay.clientSide.length === 1 && relay.appSide.length === 1);
  deepEqual([relay.clientSide[0]?.failure, relay.appSide[0]?.failure], [undefined, undefined]);
});
