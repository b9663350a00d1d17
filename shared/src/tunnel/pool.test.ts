// The pool against our own listener.
import { deepEqual, equal, ok } from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { testIdentity } from "@culvert/test/support/identity.ts";
import { tunnelCast, tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../failure/failure.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "./limits.ts";
import type { TunnelRequest } from "./request.ts";

const REQUEST = { authority: "10.0.0.1:80", headers: {} };
/** For tests that move the clock faster than a PING is answered. */
const NO_PING = { pingIntervalMs: 1e12 };
/** For tests of one session: no second one before it is nearly full. */
const AS_FEW_AS_POSSIBLE = { spreadSessions: 1 };
const TUNNELS_IN_A_ROW = 4_000;

test("who waits for a dial shares it, and each session takes as many streams as both sides allow", async () => {
  const pair = await tunnelPair({ limits: AS_FEW_AS_POSSIBLE, onRequest: (accepted) => void accepted.accept() });
  const tunnels = await Promise.all(Array.from({ length: 50 }, () => pair.open()));
  equal(pair.pool.stats().sessions, 1);
  tunnels.push(...(await Promise.all(Array.from({ length: 50 }, () => pair.open()))));
  equal(pair.pool.stats().streams, 100);
  await until("the session that is dialled before this one is full", () => pair.pool.stats().sessions === 2);
  equal(pair.pool.inFlight(pair.target), 100);
  tunnels.push(await pair.open());
  deepEqual(pair.pool.stats(), { keys: 1, sessions: 2, streams: 101, dials: 0, waiting: 0, opened: 2, failed: 0 });
  for (const { stream } of tunnels) stream.close();
  await until("the streams to end", () => pair.pool.stats().streams === 0 && pair.server.streams === 0);
  await pair.close();
});

test("a peer's lower limit is never overrun, before its SETTINGS were seen or after", async () => {
  const pair = await tunnelPair({
    serverLimits: { maxConcurrentStreams: 3 },
    onRequest: (accepted) => void accepted.accept(),
  });
  const tunnels = await Promise.all(Array.from({ length: 20 }, () => pair.open()));
  equal(tunnels.length, 20);
  equal(pair.server.streams, 20);
  ok(pair.pool.stats().sessions >= 7);
  await pair.close();
});

test("waiters are bounded", async () => {
  const pair = await tunnelPair({ limits: { maxWaitersPerKey: 5 }, onRequest: (accepted) => void accepted.accept() });
  const results = await Promise.all(Array.from({ length: 8 }, () => pair.pool.open(pair.target, REQUEST)));
  equal(results.filter((result) => isFailure(result) && result.code === "TOO_MANY_WAITERS").length, 3);
  await pair.close();
});

function acceptAll(accepted: TunnelRequest): void {
  accepted.accept();
}

test("sessions rest when idle, and a session with a tunnel never does", async () => {
  const clock = new FakeClock(Date.now());
  // The server has a clock of its own: its deadlines for the peer are not what is tried here.
  const serverClock = new FakeClock(Date.now());
  const pair = await tunnelPair({ clock, serverClock, limits: NO_PING, onRequest: acceptAll });
  const tunnel = await pair.open();
  await until("SETTINGS", () => !tunnel.stream.session?.pendingSettingsAck);
  clock.advance(10 * limits.idleSessionMs);
  equal(pair.pool.stats().sessions, 1);
  tunnel.stream.resume().close();
  await until("the stream to end", () => pair.pool.stats().streams === 0);
  clock.advance(limits.idleSessionMs);
  await until("the session to end", () => pair.pool.stats().sessions === 0);
  equal(pair.poolEvents.at(-1)?.failure, undefined);
  await pair.close();
});

test("an identity that changes during the dial costs nobody a tunnel", async () => {
  const { authority } = await tunnelCast();
  const pair = await tunnelPair({ onRequest: (accepted) => void accepted.accept() });
  const next = await testIdentity(authority, "default", "client");
  const opening = [pair.open(), pair.open()];
  pair.clientSource.replace(next);
  equal((await Promise.all(opening)).length, 2);
  await pair.close();
});

test("another identity than the expected one gets no request", async () => {
  const { client } = await tunnelCast();
  let requests = 0;
  const pair = await tunnelPair({ onRequest: () => void (requests += 1) });
  const result = await pair.pool.open({ ...pair.target, expected: [client.svid.id] }, REQUEST);
  ok(isFailure(result));
  equal(result.code, "IDENTITY_MISMATCH");
  equal(requests, 0);
  equal(pair.pool.stats().sessions, 0);
  await pair.close();
});

test("nobody stays authenticated by an expired certificate", async () => {
  const { authority } = await tunnelCast();
  const clock = new FakeClock(Date.now());
  const pair = await tunnelPair({ clock, limits: NO_PING, onRequest: (accepted) => void accepted.accept() });
  const notAfter = new Date(Date.now() + 60_000);
  pair.clientSource.replace(await testIdentity(authority, "default", "client", [], { notAfter }));
  const tunnel = await pair.open();
  await until("SETTINGS", () => !tunnel.stream.session?.pendingSettingsAck);
  const closed = new Promise((resolve) => void tunnel.stream.resume().once("close", resolve));
  clock.advance(61_000);
  await closed;
  const code = pair.poolEvents.at(-1)?.failure?.code ?? pair.serverEvents.at(-1)?.failure?.code;
  equal(code, "IDENTITY_EXPIRED");
  const refused = await pair.pool.open(pair.target, REQUEST);
  ok(isFailure(refused) && refused.code === "IDENTITY_EXPIRED");
  await pair.close();
});

test("four thousand tunnels that end in a row do not cost the session", async () => {
  const pair = await tunnelPair({
    limits: AS_FEW_AS_POSSIBLE,
    onRequest: (accepted) => {
      accepted.accept();
      accepted.stream.resume().end();
    },
  });
  let left = TUNNELS_IN_A_ROW;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const { stream } = await pair.open();
      stream.resume().end();
      await once(stream, "close");
    }
  };
  await Promise.all(Array.from({ length: 40 }, worker));
  equal(pair.pool.stats().sessions, 1);
  equal(pair.poolEvents.length, 1);
  await pair.close();
});

test("fields that HTTP/2 cannot carry are a failure, not an exception", async () => {
  const pair = await tunnelPair({ onRequest: (accepted) => void accepted.accept() });
  const result = await pair.pool.open(pair.target, { authority: "10.0.0.1:80", headers: { "bad name": "x" } });
  ok(isFailure(result));
  equal(result.code, "INTERNAL");
  equal(pair.pool.stats().streams, 0);
  await pair.close();
});

test("a pool that drains opens nothing and ends nothing", async () => {
  const pair = await tunnelPair({ onRequest: (accepted) => void accepted.accept() });
  const tunnel = await pair.open();
  pair.pool.drain();
  const refused = await pair.pool.open(pair.target, REQUEST);
  ok(isFailure(refused) && refused.code === "DRAINING");
  equal(tunnel.stream.closed, false);
  tunnel.stream.resume().close();
  await until("the session to end", () => pair.pool.stats().sessions === 0);
  await pair.close();
});
