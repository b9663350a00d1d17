// Hostile tunnel clients: rapid reset (H1), header amplification (H4), and floods of every cheap frame (H6). Each is a peer with a
// valid certificate that speaks HTTP/2 by hand; the rows are those of the catalogue in the reference on reliability.
import { equal, ok } from "node:assert/strict";
import { test } from "node:test";
import type { TunnelRequest } from "@culvert/shared/tunnel/request.ts";
import * as h2 from "../support/h2-raw.ts";
import { held, postCondition, startNeighbour, watchLoop } from "../support/neighbour.ts";
import { tunnelCast, tunnelPair } from "../support/tunnel-pair.ts";
import type { TunnelPair } from "../support/tunnel-pair.ts";
import { until, within } from "../support/until.ts";

const MIB = 1024 * 1024;
const REQUESTS = 20_000;
const MOST_STARTED = 1_200;
const FLOOD_MS = 1_000;
/** The client that floods shares the loop with the server, and the machine with other tests. */
const LOOP_MS = 500;

/** A listener that accepts, and sends back what it gets, but for those whom `decide` takes. */
async function serving(decide: (request: TunnelRequest) => boolean = () => false): Promise<TunnelPair> {
  return tunnelPair({
    onRequest: (request) => {
      if (decide(request)) return;
      request.accept();
      const { stream } = request;
      stream.on("data", (chunk) => {
        if (!stream.write(chunk)) stream.pause();
      });
      stream.on("drain", () => void stream.resume());
      stream.on("end", () => void stream.end());
    },
  });
}

test("H1 rapid reset: few requests start, the session ends, and nobody else notices", async () => {
  const { client } = await tunnelCast();
  let started = 0;
  const pair = await serving((request) => {
    if (request.rawAuthority !== "10.0.0.1:80") return false;
    started += 1;
    return true;
  });
  const neighbour = await startNeighbour(pair);
  const before = held();
  const raw = await h2.connectRaw(pair.server.address.port, client);
  for (let index = 0; index < REQUESTS && !raw.closed; index += 100) {
    const pairs = Array.from({ length: 100 }, (_, at) => {
      const stream = (index + at) * 2 + 1;
      return Buffer.concat([h2.headers(stream, h2.connectFields()), h2.reset(stream, 8)]);
    });
    await raw.sendAll(...pairs);
  }
  await raw.end(1_000);
  ok(started <= MOST_STARTED, `${started} requests were started`);
  await postCondition(pair, neighbour, before, "MISBEHAVING_PEER");
  await pair.close();
});

/** About 60 kB, 90 kB and 230 kB of fields. */
const BOMBS: readonly (readonly [what: string, fields: readonly h2.Field[]])[] = [
  ["60 fields of 3,900 bytes", fill(60, "x-bomb", 3_900)],
  ["90 fields of 3,900 bytes", fill(90, "x-bomb", 3_900)],
  ["4,000 empty fields", fill(4_000, "x", 0)],
  ["100 cookies", fill(100, "cookie", 900)],
  ["100 hosts", fill(100, "host", 900)],
  ["one field of 70,000 bytes", fill(1, "x-bomb", 70_000)],
];

function fill(count: number, name: string, bytes: number): h2.Field[] {
  return [...h2.connectFields(), ...Array.from({ length: count }, (): h2.Field => [name, "v".repeat(bytes)])];
}

/** A head in as many frames as it needs. */
function inFrames(stream: number, fields: readonly h2.Field[]): Buffer {
  const block = h2.block(fields);
  const frames: Buffer[] = [];
  for (let at = 0; at < block.length; at += 16_384) {
    const last = at + 16_384 >= block.length ? h2.FLAG.END_HEADERS : 0;
    frames.push(
      h2.frame(at === 0 ? h2.TYPE.HEADERS : h2.TYPE.CONTINUATION, last, stream, block.subarray(at, at + 16_384)),
    );
  }
  return Buffer.concat(frames);
}

for (const acknowledged of [true, false]) {
  for (const [what, fields] of BOMBS) {
    test(`H4 ${what}, SETTINGS ${acknowledged ? "acknowledged" : "never acknowledged"}: refused, then the session ends`, async () => {
      const { client } = await tunnelCast();
      let seen = 0;
      const pair = await serving((request) => {
        if (request.rawAuthority !== "10.0.0.1:80") return false;
        seen += 1;
        return true;
      });
      const neighbour = await startNeighbour(pair);
      const before = held();
      const raw = await h2.connectRaw(pair.server.address.port, client, acknowledged);
      for (let index = 0; index < 100 && !raw.closed; index++) {
        await raw.sendAll(inFrames(index * 2 + 1, fields));
        await new Promise(setImmediate);
      }
      const outcome = await raw.outcome(1);
      // Either we answer, or the library resets the stream (calm, or two hosts) or ends the session before we hear of it.
      ok(
        outcome === 431 || outcome === "reset 11" || outcome === "reset 1" || (outcome === undefined && raw.closed),
        String(outcome),
      );
      equal(seen, 0);
      const grown = held().heapBytes - before.heapBytes;
      ok(grown < 8 * MIB, `the heap grew by ${Math.round(grown / MIB)} MiB`);
      raw.close();
      await postCondition(pair, neighbour, before);
      await pair.close();
    });
  }
}

test("H4 heads that are too large three times over end the session", async () => {
  const { client } = await tunnelCast();
  const pair = await serving();
  const neighbour = await startNeighbour(pair);
  const before = held();
  const raw = await h2.connectRaw(pair.server.address.port, client, false);
  const fields = fill(40, "x-bomb", 2_000);
  for (let index = 0; index < 4; index++) raw.send(inFrames(index * 2 + 1, fields));
  await raw.end(2_000);
  await postCondition(pair, neighbour, before, "MISBEHAVING_PEER");
  await pair.close();
});

/** Each makes a batch of frames; `stream` is a tunnel that is open. */
const FLOODS: readonly (readonly [what: string, batch: (stream: number) => Buffer])[] = [
  ["PING", () => repeat(100, h2.ping())],
  ["SETTINGS", () => repeat(100, h2.settings())],
  ["SETTINGS of 32 entries", () => repeat(20, h2.settings(Array.from({ length: 32 }, () => [4, 65_535] as const)))],
  ["empty DATA", (stream) => repeat(100, h2.data(stream))],
  ["DATA of one byte", (stream) => repeat(100, h2.data(stream, "x"))],
  ["PRIORITY", (stream) => repeat(100, h2.frame(h2.TYPE.PRIORITY, 0, stream, Buffer.alloc(5)))],
  ["WINDOW_UPDATE of one byte", (stream) => repeat(100, h2.windowUpdate(stream, 1))],
  ["unknown frames", () => repeat(100, h2.frame(0xfa, 0, 0, Buffer.alloc(8)))],
];

/** What a flood may leave on the heap while it lasts, MiB. */
const HELD_MIB = 32;

function repeat(count: number, frame: Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, () => frame));
}

for (const [what, batch] of FLOODS) {
  test(`H6 a flood of ${what} is served or ended, and the loop stays free`, async () => {
    const { client } = await tunnelCast();
    const pair = await serving();
    const neighbour = await startNeighbour(pair);
    const before = held();
    const raw = await h2.connectRaw(pair.server.address.port, client);
    raw.send(h2.headers(1, h2.connectFields()));
    equal(await raw.outcome(1), 200);
    raw.keep = raw.frames.length;
    const worstMs = watchLoop();
    const frames = batch(1);
    const end = performance.now() + FLOOD_MS;
    while (performance.now() < end && !raw.closed) {
      await Promise.race([raw.sendAll(frames), new Promise((resolve) => void setTimeout(resolve, FLOOD_MS))]);
      await new Promise(setImmediate);
    }
    const stood = worstMs();
    ok(stood < LOOP_MS, `the loop stood still for ${stood} ms`);
    const grown = held().heapBytes - before.heapBytes;
    ok(grown < HELD_MIB * MIB, `the heap grew by ${Math.round(grown / MIB)} MiB`);
    raw.close();
    await within(
      "the end",
      until("the session to end", () => pair.server.sessions <= 1),
    );
    const fared = await neighbour.stop();
    equal(fared.errors, 0);
    ok(fared.answers > 10, `${fared.answers} answers`);
    await pair.close();
  });
}
