// The pool against peers that refuse, hang, lower their limits or go away, each played frame by frame.
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { staticSource } from "@culvert/test/support/identity.ts";
import * as h2 from "@culvert/test/support/h2-raw.ts";
import type { RawH2, RawServer } from "@culvert/test/support/h2-raw.ts";
import { LOOPBACK, tunnelCast } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { systemClock } from "../net/clock.ts";
import type { Clock } from "../net/clock.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "./limits.ts";
import { TunnelPool } from "./pool.ts";
import type { OpenTunnel, TunnelTarget } from "./pool.ts";

const REQUEST = { authority: "10.0.0.1:80", headers: {} };
const REFUSED_STREAM = 7;

/** A peer that is played until the test ends: `play` gets each connection after the SETTINGS exchange has been begun by it. */
interface Played {
  readonly server: RawServer;
  readonly pool: TunnelPool;
  readonly target: TunnelTarget;
  open(): Promise<OpenTunnel | Failure>;
}

type Play = (raw: RawH2, index: number) => void | Promise<void>;

async function played(
  context: TestContext,
  play: Play,
  options: { clock?: Clock; settings?: Buffer } = {},
): Promise<Played> {
  const cast = await tunnelCast();
  let index = 0;
  const server = await h2.listenRaw(cast.server, (raw) => {
    raw.send(options.settings ?? h2.settings(), h2.settingsAck());
    void play(raw, index++);
  });
  const clock = options.clock ?? systemClock;
  const pool = new TunnelPool({ identity: staticSource(cast.client), limits, clock, onEvent: () => {} });
  const target = { ip: LOOPBACK, port: server.port, expected: [cast.server.svid.id] };
  context.after(() => {
    pool.close();
    server.close();
  });
  return { server, pool, target, open: () => pool.open(target, REQUEST) };
}

const request = (raw: RawH2, stream: number): Promise<unknown> =>
  raw.frame((frame) => frame.type === h2.TYPE.HEADERS && frame.stream === stream);

/** Answers the requests of a connection, first to last. */
function answering(...answers: readonly (string | undefined)[]): Play {
  return async (raw) => {
    for (const [index, status] of answers.entries()) {
      const stream = index * 2 + 1;
      await request(raw, stream);
      if (status !== undefined)
        raw.send(
          h2.headers(
            stream,
            [
              [":status", status],
              ["culvert-code", "X"],
            ],
            0x5,
          ),
        );
    }
  };
}

test("the status of the answer is the failure, and only 200 opens a tunnel", async (context) => {
  const expected = [
    ["401", "PEER_DENIED"],
    ["403", "PEER_DENIED"],
    ["404", "PEER_NO_DESTINATION"],
    ["400", "PEER_BAD_REQUEST"],
    ["502", "PEER_UNAVAILABLE"],
    ["503", "PEER_UNAVAILABLE"],
    ["302", "PEER_UNAVAILABLE"],
    ["201", "PEER_PROTOCOL_ERROR"],
    ["204", "PEER_PROTOCOL_ERROR"],
  ] as const;
  const peer = await played(context, answering(...expected.map(([status]) => status)));
  for (const [status, code] of expected) {
    const result = await peer.open();
    ok(isFailure(result));
    equal(result.code, code, status);
    match(result.detail, new RegExp(`: ${status} X$`));
  }
  equal(peer.server.connections.length, 1);
});

test("interim answers are no answer, and trailers after the answer reset the tunnel", async (context) => {
  const peer = await played(context, async (raw) => {
    await request(raw, 1);
    raw.send(h2.headers(1, [[":status", "103"]]), h2.headers(1, [[":status", "200"]]));
    raw.send(h2.data(1, "bytes"), h2.headers(1, [["x-trailer", "1"]], 0x5));
  });
  const tunnel = await peer.open();
  ok(!isFailure(tunnel));
  tunnel.stream.resume();
  await new Promise((resolve) => void tunnel.stream.once("close", resolve));
  equal(tunnel.stream.rstCode, 1);
});

test("a limit that is lowered under way holds at once", async (context) => {
  const peer = await played(context, async (raw) => {
    for (const stream of [1, 3]) {
      await request(raw, stream);
      raw.send(h2.headers(stream, [[":status", "200"]]), h2.settings([[h2.SETTING.MAX_CONCURRENT_STREAMS, 1]]));
    }
  });
  ok(!isFailure(await peer.open()));
  const [first] = peer.server.connections;
  await first?.frame(({ type, flags }) => type === h2.TYPE.SETTINGS && flags === h2.FLAG.ACK);
  ok(!isFailure(await peer.open()));
  equal(peer.server.connections.length, 2);
});

test("a request that crosses a GOAWAY is tried on a new session, and open tunnels go on", async (context) => {
  const peer = await played(context, async (raw, index) => {
    await request(raw, 1);
    raw.send(h2.headers(1, [[":status", "200"]]));
    if (index > 0) return;
    await request(raw, 3);
    raw.send(h2.goaway(1, 0));
  });
  const first = await peer.open();
  const second = await peer.open();
  ok(!isFailure(first) && !isFailure(second));
  equal(peer.server.connections.length, 2);
  peer.server.connections[0]?.send(h2.data(1, "still here", 0x1));
  const [chunk] = (await once(first.stream, "data")) as [Buffer];
  equal(String(chunk), "still here");
});

test("a request that was lost with a session that had answered others is tried again, a reset one is not", async (context) => {
  const lost = await played(context, async (raw, index) => {
    await request(raw, 1);
    raw.send(h2.headers(1, [[":status", "200"]]));
    if (index > 0) return;
    await request(raw, 3);
    raw.close();
  });
  ok(!isFailure(await lost.open()));
  ok(!isFailure(await lost.open()));
  equal(lost.server.connections.length, 2);
  const reset = await played(context, async (raw) => {
    await request(raw, 1);
    raw.send(h2.reset(1, 2));
  });
  const result = await reset.open();
  ok(isFailure(result));
  equal(result.code, "PEER_RESET");
  equal(reset.server.connections.length, 1);
});

test("a peer that refuses everything is left alone: few dials, then none, and nothing stays in the pool", async (context) => {
  const clock = new FakeClock(Date.now());
  const peer = await played(
    context,
    async (raw) => {
      for (let stream = 1; !raw.closed; stream += 2) {
        await request(raw, stream);
        raw.send(h2.reset(stream, REFUSED_STREAM));
      }
    },
    { clock },
  );
  for (let i = 0; i < 20; i++) {
    const result = await peer.open();
    ok(isFailure(result));
    equal(result.code, "PEER_REFUSED_STREAM");
  }
  ok(peer.server.connections.length <= 3, `${peer.server.connections.length} dials`);
  const last = await peer.open();
  ok(isFailure(last));
  match(last.detail, /next try in \d+ ms/);
  await until("the sessions to end", () => peer.pool.stats().sessions === 0);
  clock.advance(120_000);
  const { opened, failed, ...held } = peer.pool.stats();
  deepEqual(held, { keys: 0, sessions: 0, streams: 0, dials: 0, waiting: 0 });
  // It takes sessions, and only refuses what comes on them.
  deepEqual([opened, failed], [peer.server.connections.length, 0]);
});

test("a peer that allows no streams is a failure at once", async (context) => {
  const settings = h2.settings([[h2.SETTING.MAX_CONCURRENT_STREAMS, 0]]);
  const peer = await played(context, () => {}, { settings });
  const result = await peer.open();
  ok(isFailure(result) && result.traits.retriable);
});

test("a peer that never answers costs the caller the deadline, and is told by a reset", async (context) => {
  const clock = new FakeClock(Date.now());
  const peer = await played(context, () => {}, { clock });
  const opening = peer.open();
  const raw = await until("the connection", () => peer.server.connections[0]);
  await request(raw, 1);
  // With the exchange of SETTINGS open, its own deadline would come first.
  await raw.frame(({ type, flags }) => type === h2.TYPE.SETTINGS && flags === h2.FLAG.ACK);
  clock.advance(limits.answerTimeoutMs);
  const result = await opening;
  ok(isFailure(result));
  equal(result.code, "PEER_TIMEOUT");
  equal(await raw.resetCode(1), 8);
});

test("a peer that hangs before or in the handshake releases everybody who waits", async (context) => {
  const clock = new FakeClock(Date.now());
  const silent = createServer((socket) => void socket.on("error", () => {}));
  context.after(() => silent.close());
  await new Promise<void>((resolve) => void silent.listen(0, "127.0.0.1", resolve));
  const cast = await tunnelCast();
  const pool = new TunnelPool({ identity: staticSource(cast.client), limits, clock, onEvent: () => {} });
  context.after(() => pool.close());
  const target = { ip: LOOPBACK, port: (silent.address() as AddressInfo).port, expected: [cast.server.svid.id] };
  const accepted = once(silent, "connection");
  const opening = Array.from({ length: 10 }, () => pool.open(target, REQUEST));
  await accepted;
  await until("the TCP connection", () => {
    clock.advance(limits.handshakeTimeoutMs);
    return pool.inFlight(target) === 0;
  });
  for (const result of await Promise.all(opening)) ok(isFailure(result) && result.code === "PEER_TIMEOUT");
});

test("a peer that never sends SETTINGS is given up", async (context) => {
  const clock = new FakeClock(Date.now());
  const cast = await tunnelCast();
  const server = await h2.listenRaw(cast.server, () => {});
  context.after(() => server.close());
  const pool = new TunnelPool({ identity: staticSource(cast.client), limits, clock, onEvent: () => {} });
  context.after(() => pool.close());
  const opening = pool.open({ ip: LOOPBACK, port: server.port, expected: [cast.server.svid.id] }, REQUEST);
  await until("the request", () => server.connections[0]?.frames.some(({ type }) => type === h2.TYPE.HEADERS));
  clock.advance(limits.settingsTimeoutMs);
  const result = await opening;
  ok(isFailure(result));
  equal(result.code, "PEER_PROTOCOL_ERROR");
  equal(server.connections.length, 1);
});

test("a session that answers no PING is ended, also while it drains", async (context) => {
  for (const draining of [false, true]) {
    const clock = new FakeClock(Date.now());
    const peer = await played(
      context,
      async (raw) => {
        await request(raw, 1);
        raw.send(h2.headers(1, [[":status", "200"]]));
        if (draining) raw.send(h2.goaway(1, 0));
      },
      { clock },
    );
    const tunnel = await peer.open();
    ok(!isFailure(tunnel));
    const { session } = tunnel.stream;
    const closed = new Promise((resolve) => void tunnel.stream.resume().once("close", resolve));
    await until("SETTINGS", () => session?.pendingSettingsAck === false);
    if (draining) await until("the GOAWAY", () => session?.closed);
    clock.advance(limits.pingIntervalMs);
    const asks = draining ? h2.TYPE.SETTINGS : h2.TYPE.PING;
    await peer.server.connections[0]?.frame(({ type, flags, payload }) => {
      return type === asks && flags === 0 && payload.length === (draining ? 0 : 8);
    });
    clock.advance(limits.pingTimeoutMs - 1_000);
    equal(tunnel.stream.closed, false);
    clock.advance(1_000);
    await closed;
    equal(peer.pool.stats().sessions, 0);
  }
});
