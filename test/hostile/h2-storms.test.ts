// Hostile on both sides of a session: servers that take back what they have granted (H8) or answer what opens no tunnel (H10), and
// clients whose frames are noise (H9) or break off in the middle of a head (H3).
import { deepEqual, equal, ok } from "node:assert/strict";
import { test } from "node:test";
import { isFailure, type FailureCode } from "@culvert/shared/failure/failure.ts";
import * as h2 from "../support/h2-raw.ts";
import type { RawH2 } from "../support/h2-raw.ts";
import { held, postCondition, startNeighbour } from "../support/neighbour.ts";
import { must, tunnelCast, tunnelPair } from "../support/tunnel-pair.ts";
import { until, within } from "../support/until.ts";

const REFUSED_STREAM = 7;
const CALLERS = 20;

/** What a server does with each request, and the code that the caller is told. */
const SERVERS: readonly (readonly [what: string, code: FailureCode, react: (raw: RawH2, stream: number) => void])[] = [
  ["refuses every stream", "PEER_REFUSED_STREAM", (raw, stream) => void raw.send(h2.reset(stream, REFUSED_STREAM))],
  ["says GOAWAY to every request", "PEER_REFUSED_STREAM", (raw) => void raw.send(h2.goaway(0, 0))],
  ["answers 204", "PEER_PROTOCOL_ERROR", (raw, stream) => void raw.send(h2.headers(stream, [[":status", "204"]], 5))],
];

for (const [what, code, react] of SERVERS) {
  test(`H8 a server that ${what} is asked a bounded number of times, and nobody waits for ever`, async () => {
    const { server } = await tunnelCast();
    let requests = 0;
    const peer = await h2.listenRaw(server, (raw) => {
      raw.send(h2.settings(), h2.settingsAck());
      raw.keep = 0;
      raw.onFrame = ({ type, stream }) => {
        if (type !== h2.TYPE.HEADERS) return;
        requests += 1;
        react(raw, stream);
      };
    });
    const pair = await tunnelPair();
    const target = { ...pair.target, port: peer.port };
    const codes = await Promise.all(
      Array.from({ length: CALLERS }, async () => {
        const opened = await pair.pool.open(target, { authority: "10.0.0.1:80", headers: {} });
        return isFailure(opened) ? opened.code : "open";
      }),
    );
    ok(codes.includes(code), codes.join(" "));
    equal(codes.includes("open"), false);
    ok(requests <= 2 * CALLERS, `${requests} requests for ${CALLERS} callers`);
    ok(peer.connections.length <= CALLERS, `${peer.connections.length} sessions for ${CALLERS} callers`);
    await pair.close();
    peer.close();
  });
}

test("H8 a server that allows no streams: callers are told in time, and few sessions are opened for them", async () => {
  const { server } = await tunnelCast();
  const none = h2.settings([[h2.SETTING.MAX_CONCURRENT_STREAMS, 0]]);
  let requests = 0;
  const peer = await h2.listenRaw(server, (raw) => {
    raw.send(none, h2.settingsAck());
    raw.keep = 0;
    raw.onFrame = ({ type }) => void (requests += type === h2.TYPE.HEADERS ? 1 : 0);
  });
  const pair = await tunnelPair();
  const target = { ...pair.target, port: peer.port };
  const codes = await within(
    "an answer to every caller",
    Promise.all(
      Array.from({ length: CALLERS }, async () => {
        const opened = await pair.pool.open(target, { authority: "10.0.0.1:80", headers: {} });
        return isFailure(opened) ? opened.code : "open";
      }),
    ),
  );
  deepEqual([...new Set(codes)], ["PEER_REFUSED_STREAM"]);
  ok(requests <= CALLERS, `${requests} requests for ${CALLERS} callers`);
  ok(peer.connections.length <= CALLERS, `${peer.connections.length} sessions for ${CALLERS} callers`);
  await until("no entry in the pool", () => pair.pool.stats().sessions === 0);
  await pair.close();
  peer.close();
});

test("H8 a server that takes back every stream it has granted: open tunnels go on, new callers are told, and it is used again", async (context) => {
  const { server } = await tunnelCast();
  let allowed = 100;
  const peer = await h2.listenRaw(server, (raw) => {
    raw.send(h2.settings([[h2.SETTING.MAX_CONCURRENT_STREAMS, allowed]]), h2.settingsAck());
    raw.keep = 0;
    raw.onFrame = ({ type, stream }) => {
      if (type === h2.TYPE.HEADERS) raw.send(h2.headers(stream, [[":status", "200"]]));
      else if (type === h2.TYPE.DATA) raw.send(h2.data(stream, "echo"));
    };
  });
  context.after(() => peer.close());
  const pair = await tunnelPair();
  context.after(() => pair.close());
  const open = (): ReturnType<typeof pair.pool.open> =>
    pair.pool.open({ ...pair.target, port: peer.port }, { authority: "10.0.0.1:80", headers: {} });
  const { stream } = must(await open());
  let echoed = 0;
  stream.on("data", (chunk: Buffer) => void (echoed += chunk.length));
  const asked = async (): Promise<void> => {
    const already = echoed;
    stream.write("?");
    await until("the echo", () => echoed > already);
  };
  await asked();
  const allow = async (streams: number): Promise<void> => {
    allowed = streams;
    for (const raw of peer.connections) raw.send(h2.settings([[h2.SETTING.MAX_CONCURRENT_STREAMS, streams]]));
    await until("the SETTINGS", () => stream.session?.remoteSettings.maxConcurrentStreams === streams);
  };
  await allow(0);
  const refused = await within("an answer", open());
  ok(isFailure(refused));
  equal(refused.code, "PEER_REFUSED_STREAM");
  await asked();
  equal(stream.closed, false);
  await allow(100);
  const again = must(await within("a tunnel", open()));
  await asked();
  again.stream.close();
  stream.close();
});

/** Numbers that are the same in every run (xorshift, 32 bits). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** A frame that is well-formed as often as not. */
function noise(random: (below: number) => number): Buffer {
  const stream = [0, 1, 3, 5, 2, random(0x7fff_ffff)][random(6)] ?? 0;
  switch (random(6)) {
    case 0:
      return h2.headers(stream, h2.connectFields(`10.0.0.${random(256)}:80`), random(256));
    case 1:
      return h2.data(stream, Buffer.alloc(random(300)), random(256));
    case 2:
      return h2.reset(stream, random(20));
    case 3:
      return h2.windowUpdate(stream, random(0x7fff_ffff));
    default: {
      const payload = Buffer.from(Array.from({ length: random(64) }, () => random(256)));
      const frame = h2.frame(random(12), random(256), stream, payload);
      // Sometimes cut short: what follows is read as the rest of it.
      return random(4) === 0 ? frame.subarray(0, random(frame.length) + 1) : frame;
    }
  }
}

test("H9 noise for frames, two hundred sessions of it: each ends, and the process stays", async () => {
  const { client } = await tunnelCast();
  const pair = await tunnelPair({
    onRequest: (request) => {
      request.accept();
      request.stream.on("data", (chunk) => void request.stream.write(chunk));
    },
  });
  const neighbour = await startNeighbour(pair);
  const before = held();
  for (let seed = 1; seed <= 200; seed++) {
    const random = randomFrom(seed * 7_919);
    const raw = await h2.connectRaw(pair.server.address.port, client, seed % 2 === 0);
    for (let count = 0; count < 30 && !raw.closed; count++) raw.send(noise(random));
    await new Promise(setImmediate);
    raw.close();
  }
  await postCondition(pair, neighbour, before);
  await pair.close();
});

test("H3 a head that breaks off between its frames, a hundred times over, leaves nothing behind", async () => {
  const { client } = await tunnelCast();
  const pair = await tunnelPair({
    onRequest: (request) => {
      request.accept();
      request.stream.on("data", (chunk) => void request.stream.write(chunk));
    },
  });
  const neighbour = await startNeighbour(pair);
  const before = held();
  for (let round = 0; round < 100; round++) {
    const raw = await h2.connectRaw(pair.server.address.port, client);
    raw.send(h2.headers(1, h2.connectFields(), 0), h2.frame(h2.TYPE.CONTINUATION, 0, 1, Buffer.alloc(0)));
    raw.close();
  }
  await until("their sessions to end", () => pair.server.sessions <= 1);
  await postCondition(pair, neighbour, before);
  await pair.close();
});
