// Hostile tunnel clients that take their time: SETTINGS never acknowledged (H5), and everything slow or half (H11). The
// listener's clock is moved by hand, but for the handshake, whose deadline is the runtime's own.
import { equal, ok } from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "@culvert/shared/tunnel/limits.ts";
import * as h2 from "../support/h2-raw.ts";
import { held, postCondition, startNeighbour } from "../support/neighbour.ts";
import { tunnelCast, tunnelPair } from "../support/tunnel-pair.ts";
import type { TunnelPair } from "../support/tunnel-pair.ts";
import { observe, until } from "../support/until.ts";

const HANDSHAKE_MS = 300;

interface Scene {
  readonly pair: TunnelPair;
  readonly clock: FakeClock;
  /** Plays one hostile peer, and holds the listener to the post-condition. */
  readonly end: (code: "MISBEHAVING_PEER" | "REQUEST_TIMEOUT" | "DOWNSTREAM_CLOSED") => Promise<void>;
}

async function scene(): Promise<Scene> {
  const clock = new FakeClock(Date.now());
  const pair = await tunnelPair({
    serverClock: clock,
    onRequest: (request) => {
      request.accept();
      request.stream.on("data", (chunk) => void request.stream.write(chunk));
      request.stream.on("end", () => void request.stream.end());
    },
  });
  const neighbour = await startNeighbour(pair);
  await until("the neighbour's SETTINGS", async () => {
    const { stream } = await pair.open();
    const acknowledged = stream.session?.pendingSettingsAck === false;
    stream.resume().end();
    return acknowledged;
  });
  const before = held();
  return {
    pair,
    clock,
    end: async (code) => {
      await postCondition(pair, neighbour, before, code);
      await pair.close();
    },
  };
}

test("H5 SETTINGS never acknowledged: streams are served meanwhile, and after five seconds the session ends", async () => {
  const { client } = await tunnelCast();
  const { pair, clock, end } = await scene();
  const raw = await h2.connectRaw(pair.server.address.port, client, false);
  for (const stream of [1, 3, 5]) {
    raw.send(h2.headers(stream, h2.connectFields()));
    equal(await raw.outcome(stream), 200);
  }
  clock.advance(limits.settingsTimeoutMs - 1_000);
  raw.send(h2.headers(7, h2.connectFields()));
  equal(await raw.outcome(7), 200);
  clock.advance(1_000);
  await raw.frame(({ type }) => type === h2.TYPE.GOAWAY);
  clock.advance(500);
  await raw.end();
  equal(raw.goawayCode, 0xb);
  await end("MISBEHAVING_PEER");
});

test("H5 header bytes before the acknowledgement have a budget of their own", async () => {
  const { client } = await tunnelCast();
  const { pair, clock, end } = await scene();
  const raw = await h2.connectRaw(pair.server.address.port, client, false);
  const fields = [...h2.connectFields(), ...Array.from({ length: 12 }, (): h2.Field => ["x-fill", "v".repeat(1_200)])];
  let stream = 1;
  for (; stream < 200 && !raw.closed && raw.goawayCode === undefined; stream += 2) {
    await raw.sendAll(h2.headers(stream, fields));
    await new Promise(setImmediate);
  }
  ok(stream < 60, `${stream} streams`);
  await raw.frame(({ type }) => type === h2.TYPE.GOAWAY);
  clock.advance(500);
  await raw.end();
  await end("MISBEHAVING_PEER");
});

const SLOW: readonly (readonly [what: string, bytes: Buffer])[] = [
  ["no preface", Buffer.alloc(0)],
  ["half a preface", h2.PREFACE.subarray(0, 10)],
  ["a preface and no SETTINGS", h2.PREFACE],
  ["half of SETTINGS", Buffer.concat([h2.PREFACE, h2.settings([[4, 65_535]]).subarray(0, 12)])],
  ["SETTINGS and no request", Buffer.concat([h2.PREFACE, h2.settings(), h2.settingsAck()])],
  [
    "HEADERS without an end",
    Buffer.concat([h2.PREFACE, h2.settings(), h2.settingsAck(), h2.headers(1, h2.connectFields(), 0)]),
  ],
  [
    "half of HEADERS",
    Buffer.concat([h2.PREFACE, h2.settings(), h2.settingsAck(), h2.headers(1, h2.connectFields()).subarray(0, 20)]),
  ],
];

for (const [what, bytes] of SLOW) {
  test(`H11 ${what}: the session ends after five seconds`, async () => {
    const { client } = await tunnelCast();
    const { pair, clock, end } = await scene();
    const raw = new h2.RawH2(await h2.connectSecure(pair.server.address.port, client));
    raw.send(bytes);
    await until("the session", () => pair.server.sessions === 2);
    // What was sent has arrived once the peer could have answered it.
    await observe(50);
    clock.advance(limits.firstHeadersTimeoutMs - 1_000);
    equal(raw.closed, false);
    clock.advance(1_000);
    await until("the session to end", () => {
      clock.advance(500);
      return raw.closed;
    });
    const acknowledged = bytes.length > 40;
    await end(acknowledged ? "REQUEST_TIMEOUT" : "MISBEHAVING_PEER");
  });
}

test("H11 half a frame after honest ones: the peer that can no longer answer PING is ended", async () => {
  const { client } = await tunnelCast();
  const { pair, clock, end } = await scene();
  const raw = await h2.connectRaw(pair.server.address.port, client);
  raw.send(h2.headers(1, h2.connectFields()));
  equal(await raw.outcome(1), 200);
  raw.send(h2.headers(3, h2.connectFields()).subarray(0, 20));
  clock.advance(limits.pingIntervalMs);
  await raw.frame(({ type }) => type === h2.TYPE.PING);
  raw.send(h2.ping(h2.FLAG.ACK));
  // The neighbour's session is asked too, and answers.
  await observe(50);
  clock.advance(limits.pingTimeoutMs);
  await until("the session to end", () => {
    clock.advance(500);
    return raw.closed;
  });
  await end("DOWNSTREAM_CLOSED");
});

for (const [what, drip] of [
  ["no ClientHello", false],
  ["a ClientHello of one byte at a time", true],
] as const) {
  test(`H11 ${what}: the connection ends at the handshake's deadline`, async () => {
    const pair = await tunnelPair({
      serverLimits: { handshakeTimeoutMs: HANDSHAKE_MS },
      onRequest: (request) => {
        request.accept();
        request.stream.on("data", (chunk) => void request.stream.write(chunk));
      },
    });
    const neighbour = await startNeighbour(pair);
    const before = held();
    const startedAt = performance.now();
    const socket = connect(pair.server.address.port, "127.0.0.1");
    socket.on("error", () => {});
    let next = 0;
    const dripping = setInterval(() => {
      if (drip) socket.write(Buffer.from([[22, 3, 1, 1, 0, 1][next++] ?? 0]));
    }, HANDSHAKE_MS / 10);
    await new Promise((resolve) => void socket.once("close", resolve));
    clearInterval(dripping);
    ok(performance.now() - startedAt < 10 * HANDSHAKE_MS);
    await postCondition(pair, neighbour, before, "PEER_TLS_FAILURE");
    await pair.close();
  });
}
