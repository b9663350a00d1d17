// Hostile frames: what a tunnel must not carry (H10), and with the same tools the neighbours of that row: resets that the server
// is made to send (H2), floods of CONTINUATION (H3), and games with windows (H7).
import { equal, ok } from "node:assert/strict";
import { test } from "node:test";
import type { TunnelRequest } from "@culvert/shared/tunnel/request.ts";
import * as h2 from "../support/h2-raw.ts";
import type { RawH2 } from "../support/h2-raw.ts";
import { held, postCondition, startNeighbour } from "../support/neighbour.ts";
import { tunnelCast, tunnelPair } from "../support/tunnel-pair.ts";
import type { TunnelPair } from "../support/tunnel-pair.ts";
import { until } from "../support/until.ts";

const MIB = 1024 * 1024;
const PROTOCOL_ERROR = 1;
const HOSTILE = "10.0.0.1:80";

interface Scene {
  readonly pair: TunnelPair;
  readonly raw: RawH2;
  /** The hostile tunnel's other end. */
  readonly request: TunnelRequest;
  readonly end: () => Promise<void>;
}

/** A hostile client whose tunnel on stream 1 was accepted. */
async function scene(): Promise<Scene> {
  const { client } = await tunnelCast();
  const arrived = Promise.withResolvers<TunnelRequest>();
  const pair = await tunnelPair({
    onRequest: (request) => {
      request.accept();
      if (request.rawAuthority === HOSTILE) arrived.resolve(request);
      else request.stream.on("data", (chunk) => void request.stream.write(chunk));
    },
  });
  const neighbour = await startNeighbour(pair);
  const before = held();
  const raw = await h2.connectRaw(pair.server.address.port, client);
  raw.send(h2.headers(1, h2.connectFields(HOSTILE)));
  const request = await arrived.promise;
  equal(await raw.outcome(1), 200);
  return {
    pair,
    raw,
    request,
    end: async () => {
      raw.close();
      await postCondition(pair, neighbour, before);
      await pair.close();
    },
  };
}

/** The bytes and the end that the application behind the tunnel would see. */
function watch(request: TunnelRequest): { bytes: string; ended: boolean; closed: Promise<unknown> } {
  const seen = {
    bytes: "",
    ended: false,
    closed: new Promise((resolve) => void request.stream.once("close", resolve)),
  };
  request.stream.on("data", (chunk: Buffer) => void (seen.bytes += chunk.toString()));
  request.stream.on("end", () => void (seen.ended = !request.stream.closed));
  return seen;
}

for (const [what, fields, flags] of [
  ["trailers", [["x-trailer", "1"]], h2.FLAG.END_HEADERS | h2.FLAG.END_STREAM],
  ["a second head", h2.connectFields(), h2.FLAG.END_HEADERS],
  ["fields in mid-stream", [["x-late", "1"]], h2.FLAG.END_HEADERS],
] as const) {
  test(`H10 ${what} after the answer are a stream error, and nothing of them goes on`, async () => {
    const { raw, request, end } = await scene();
    const seen = watch(request);
    raw.send(h2.data(1, "bytes"), h2.headers(1, fields, flags));
    equal(await raw.resetCode(1), PROTOCOL_ERROR);
    await seen.closed;
    equal(seen.bytes, "bytes");
    equal(seen.ended, false);
    await end();
  });
}

test("H10 a client that pushes loses its session", async () => {
  const { raw, end } = await scene();
  const promise = Buffer.concat([Buffer.from([0, 0, 0, 2]), h2.block(h2.connectFields())]);
  raw.send(h2.frame(h2.TYPE.PUSH_PROMISE, h2.FLAG.END_HEADERS, 1, promise));
  await raw.end();
  equal(raw.goawayCode, PROTOCOL_ERROR);
  await end();
});

/** The six ways to make a server reset a stream, each after a valid request on the stream. */
const MADE_TO_RESET: readonly (readonly [what: string, frames: (stream: number) => Buffer])[] = [
  ["WINDOW_UPDATE of nothing", (stream) => h2.windowUpdate(stream, 0)],
  ["a window that overflows", (stream) => h2.windowUpdate(stream, 0x7fff_ffff)],
  ["DATA after the end", (stream) => Buffer.concat([h2.data(stream, "", 1), h2.data(stream, "x")])],
  [
    "HEADERS after the end",
    (stream) => Buffer.concat([h2.data(stream, "", 1), h2.headers(stream, h2.connectFields())]),
  ],
  ["PRIORITY of a wrong length", (stream) => h2.frame(h2.TYPE.PRIORITY, 0, stream, Buffer.alloc(4))],
  [
    "a stream that depends on itself",
    (stream) => h2.frame(h2.TYPE.PRIORITY, 0, stream, Buffer.from([0, 0, 0, stream & 0xff, 0])),
  ],
];

for (const [what, frames] of MADE_TO_RESET) {
  test(`H2 ${what}, many times over: the session ends, and its tunnels with it`, async () => {
    const { pair, raw, end } = await scene();
    for (let stream = 3; stream < 20_000 && !raw.closed; stream += 2) {
      await raw.sendAll(h2.headers(stream, h2.connectFields(HOSTILE)), frames(stream));
      if (stream % 100 === 3) await new Promise(setImmediate);
    }
    await raw.end();
    const code = "MISBEHAVING_PEER";
    await until(`an event with ${code}`, () => pair.serverEvents.some(({ failure }) => failure?.code === code));
    await until("all streams to end", () => pair.server.streams <= 1);
    await end();
  });
}

for (const [what, size] of [
  ["full", 8_000],
  ["empty", 0],
] as const) {
  test(`H3 ${what} CONTINUATION without an end: the session ends`, async () => {
    const { raw, end } = await scene();
    raw.send(h2.headers(3, h2.connectFields(), 0));
    const field = size === 0 ? Buffer.alloc(0) : h2.block([["x-fill", "v".repeat(size)]]);
    for (let index = 0; index < 20_000 && !raw.closed; index += 10) {
      await raw.sendAll(...Array.from({ length: 10 }, () => h2.frame(h2.TYPE.CONTINUATION, 0, 3, field)));
    }
    await raw.end();
    await end();
  });
}

test("H7 a peer that opens no window makes us hold the queue of one stream, no more", async () => {
  const { client } = await tunnelCast();
  const { raw, pair, end } = await scene();
  const { port } = pair.server.address;
  raw.close();
  const slow = await h2.connectRaw(port, client);
  slow.send(h2.settings([[h2.SETTING.INITIAL_WINDOW_SIZE, 0]]), h2.headers(1, h2.connectFields("10.0.0.9:9")));
  equal(await slow.outcome(1), 200);
  const heap = held().heapBytes;
  // The other end sends back whatever comes, and may send nothing.
  for (let index = 0; index < 64; index++) await slow.sendAll(h2.data(1, Buffer.alloc(16_000)));
  await new Promise(setImmediate);
  ok(held().heapBytes - heap < 8 * MIB);
  slow.send(h2.windowUpdate(0, 0x7fff_ffff));
  await slow.end();
  equal(slow.goawayCode, 3);
  await end();
});

/** What a hostile server does on a tunnel that it has answered; `expected` is the code of the stream at our end. */
const SERVERS: readonly (readonly [what: string, expected: number | "session", frames: Buffer])[] = [
  ["trailers", PROTOCOL_ERROR, h2.headers(1, [["x-trailer", "1"]], 0x5)],
  ["a second answer", PROTOCOL_ERROR, h2.headers(1, [[":status", "200"]])],
  [
    "a pushed stream",
    "session",
    h2.frame(h2.TYPE.PUSH_PROMISE, 4, 1, Buffer.concat([Buffer.from([0, 0, 0, 2]), h2.block(h2.connectFields())])),
  ],
  ["an unknown stream", "session", h2.headers(2, [[":status", "200"]])],
];

async function acceptThen(raw: RawH2, frames: Buffer): Promise<void> {
  raw.send(h2.settings(), h2.settingsAck());
  await raw.frame(({ type }) => type === h2.TYPE.HEADERS);
  raw.send(h2.headers(1, [[":status", "200"]]), h2.data(1, "bytes"), frames);
}

for (const [what, expected, frames] of SERVERS) {
  test(`H10 a server that sends ${what} after its answer is not believed`, async () => {
    const cast = await tunnelCast();
    const peer = await h2.listenRaw(cast.server, (raw) => void acceptThen(raw, frames));
    const pair = await tunnelPair();
    const tunnel = await pair.pool.open({ ...pair.target, port: peer.port }, { authority: HOSTILE, headers: {} });
    ok("stream" in tunnel);
    const { stream } = tunnel;
    let ended = false;
    stream.on("end", () => void (ended = !stream.closed));
    stream.resume();
    await until("the stream to close", () => stream.destroyed);
    equal(ended, false);
    if (expected === "session") await until("the session to end", () => pair.pool.stats().sessions === 0);
    else equal(stream.rstCode, expected);
    await pair.close();
    peer.close();
  });
}
