// The life of the pool's sessions: spread, replaced with overlap, kept warm, bounded in number.
import { equal, ok } from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import type { TestAuthority } from "@culvert/test/support/ca.ts";
import { identityOf, testIdentity } from "@culvert/test/support/identity.ts";
import { must, tunnelCast, tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import type { PairOptions, TunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../failure/failure.ts";
import { makeIdentity } from "../identity/identity.ts";
import type { Identity } from "../identity/source.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "./limits.ts";
import type { OpenTunnel } from "./pool.ts";

const REQUEST = { authority: "10.0.0.1:80", headers: {} };
/** For tests that move the clock faster than a PING is answered. */
const NO_PING = { pingIntervalMs: 1e12 };

/** Both ends; the server accepts whatever comes. */
async function started(context: TestContext, options: PairOptions = {}): Promise<TunnelPair> {
  const pair = await tunnelPair({ onRequest: (accepted) => void accepted.accept(), ...options });
  context.after(() => pair.close());
  return pair;
}

/** A pair with a clock of its own at each end: what is tried is the pool's. */
async function timed(context: TestContext, options: PairOptions = {}): Promise<{ pair: TunnelPair; clock: FakeClock }> {
  const clock = new FakeClock(Date.now());
  const pair = await started(context, {
    clock,
    serverClock: new FakeClock(Date.now()),
    ...options,
    limits: { ...NO_PING, ...options.limits },
  });
  return { pair, clock };
}

async function acknowledged({ stream }: OpenTunnel): Promise<void> {
  await until("SETTINGS", () => stream.session?.pendingSettingsAck === false);
}

/** Second by second, so that no deadline of the dial passes with the one that begins it. */
function untilDialled(pair: TunnelPair, clock: FakeClock): void {
  for (let second = 0; second <= limits.maxSessionAgeMs / 1_000; second += 1) {
    if (pair.pool.stats().dials > 0) return;
    clock.advance(1_000);
  }
}

function sessionsOf(tunnels: readonly OpenTunnel[]): Map<unknown, number> {
  const streams = new Map<unknown, number>();
  for (const { stream } of tunnels) streams.set(stream.session, (streams.get(stream.session) ?? 0) + 1);
  return streams;
}

test("tunnels to a busy peer are spread, and nobody waits for the sessions that they are spread over", async (context) => {
  const pair = await started(context, { limits: { busyStreams: 2, spreadSessions: 3 } });
  const tunnels: OpenTunnel[] = [];
  for (let count = 1; count <= 12; count += 1) {
    const opening = pair.pool.open(pair.target, REQUEST);
    // Only the first session was waited for.
    equal(pair.pool.stats().waiting, count === 1 ? 1 : 0);
    const tunnel = await opening;
    ok(!isFailure(tunnel));
    tunnels.push(tunnel);
    await until("the dials to end", () => pair.pool.stats().dials === 0);
  }
  equal(pair.pool.stats().sessions, 3);
  equal(Math.max(...sessionsOf(tunnels).values()), 4);
});

test("an old session is replaced before it goes, and its tunnels go on", async (context) => {
  const { pair, clock } = await timed(context);
  const old = await pair.open();
  await acknowledged(old);
  clock.advance(limits.maxSessionAgeMs * 0.7);
  equal(pair.pool.stats().dials, 0);
  untilDialled(pair, clock);
  equal(pair.pool.stats().dials, 1);
  // While the new one is dialled the old one serves.
  const between = pair.pool.open(pair.target, REQUEST);
  equal(pair.pool.stats().waiting, 0);
  await until("the new session", () => pair.pool.stats().dials === 0);
  ok(!isFailure(await between));
  const fresh = await pair.open();
  ok(fresh.stream.session !== old.stream.session);
  equal(old.stream.closed, false);
  ok(old.stream.session?.closed, "the old session has sent its GOAWAY");
  equal(pair.pool.inFlight(pair.target), 3);
});

test("an old session that nobody uses goes without a successor", async (context) => {
  const { pair, clock } = await timed(context, { limits: { idleSessionMs: 1e12 } });
  const tunnel = await pair.open();
  await acknowledged(tunnel);
  tunnel.stream.resume().close();
  await until("the stream to end", () => pair.pool.stats().streams === 0);
  clock.advance(limits.maxSessionAgeMs);
  await until("the session to end", () => pair.pool.stats().sessions === 0);
  equal(pair.poolEvents.length, 2);
});

test("a successor that cannot be dialled leaves the old session in use", async (context) => {
  const { pair, clock } = await timed(context);
  const old = await pair.open();
  await acknowledged(old);
  const { authority } = await tunnelCast();
  // Who listens now is somebody else.
  pair.serverSource.replace(await testIdentity(authority, "default", "another"));
  untilDialled(pair, clock);
  await until("the dial to fail", () => pair.poolEvents.at(-1)?.failure?.code === "IDENTITY_MISMATCH");
  const next = await pair.open();
  equal(next.stream.session, old.stream.session);
});

test("a new certificate gets new sessions, with overlap; tunnels of the old one take its session with them", async (context) => {
  const { authority } = await tunnelCast();
  const { pair, clock } = await timed(context);
  const old = await pair.open();
  await acknowledged(old);
  pair.clientSource.replace(await testIdentity(authority, "default", "client"));
  const overlapping = await pair.open();
  equal(overlapping.stream.session, old.stream.session);
  untilDialled(pair, clock);
  await until("the new session", () => pair.pool.stats().dials === 0 && pair.pool.stats().sessions === 2);
  const fresh = await pair.open();
  ok(fresh.stream.session !== old.stream.session);
  equal(pair.pool.inFlight(pair.target), 3);
  old.stream.close();
  overlapping.stream.close();
  await until("the old session to end", () => pair.pool.stats().sessions === 1);
});

test("who we no longer are opens nothing: another name is no rotation", async (context) => {
  const { authority } = await tunnelCast();
  const pair = await started(context);
  const old = await pair.open();
  pair.clientSource.replace(await testIdentity(authority, "default", "renamed"));
  const fresh = await pair.open();
  ok(fresh.stream.session !== old.stream.session);
  equal(old.stream.closed, false);
});

test("a peer that is no longer trusted is cut off at once, at either end; one that still is stays", async (context) => {
  const { authority, client, server } = await tunnelCast();
  const other = await testAuthority("other.domain");
  const minted = await mintSvid(authority, svidName(authority, "default", "anybody"));
  for (const end of ["client", "server"] as const) {
    const pair = await started(context);
    const tunnel = await pair.open();
    const source = end === "client" ? pair.clientSource : pair.serverSource;
    const own = end === "client" ? client : server;
    const trusting = (...authorities: readonly TestAuthority[]): Identity =>
      must(makeIdentity(own.svid, identityOf(minted, authorities).bundles));
    source.replace(trusting(authority, other));
    equal(tunnel.stream.closed, false);
    const next = await testAuthority();
    const closed = new Promise((resolve) => void tunnel.stream.resume().once("close", resolve));
    // The bundle of the same trust domain, without the root that vouches for the peer.
    source.replace(trusting({ ...authority, bundlePem: next.bundlePem }, other));
    await closed;
    ok(tunnel.stream.rstCode !== 0, end);
    const events = end === "client" ? pair.poolEvents : pair.serverEvents;
    const { failure } = await until("the event", () => events.findLast(({ kind }) => kind === "session-ended"));
    equal(failure?.code, "IDENTITY_UNTRUSTED", end);
  }
});

test("a session that is kept warm is there before it is asked for, rests never, and comes back", async (context) => {
  const clock = new FakeClock(Date.now());
  const pair = await started(context, { clock, serverClock: clock });
  pair.pool.keepWarm([pair.target]);
  const warm = (): boolean => pair.pool.stats().sessions === 1 && pair.server.sessions === 1;
  await until("the session", warm);
  // Second by second, so that PINGs are answered: longer than a session without a request may live at either end.
  for (let second = 0; second < limits.idleSessionMs / 1_000 + 10; second += 1) {
    clock.advance(1_000);
    for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
  }
  ok(warm());
  equal(pair.poolEvents.length, 1);
  const opening = pair.pool.open(pair.target, REQUEST);
  equal(pair.pool.stats().waiting, 0);
  const tunnel = await opening;
  ok(!isFailure(tunnel));
  tunnel.stream.session?.destroy();
  await until("the session to be lost", () => pair.pool.stats().sessions === 0);
  await until("another", () => {
    clock.advance(1_000);
    return warm();
  });
  pair.pool.keepWarm([]);
  clock.advance(1_000);
  for (let second = 0; second <= limits.idleSessionMs / 1_000 && pair.pool.stats().sessions > 0; second += 1) {
    clock.advance(1_000);
    for (let turn = 0; turn < 10; turn += 1) await new Promise(setImmediate);
  }
  await until("the session to rest", () => pair.pool.stats().sessions === 0);
});

test("a warm target that is down is dialled less and less often", async (context) => {
  const clock = new FakeClock(Date.now());
  const pair = await started(context, { clock });
  pair.server.close();
  pair.pool.keepWarm([pair.target]);
  for (let second = 0; second < 120; second += 1) {
    await until("the dial to fail", () => pair.pool.stats().dials === 0);
    clock.advance(1_000);
  }
  const dials = pair.poolEvents.filter(({ kind }) => kind === "session-failed").length;
  ok(dials >= 4 && dials <= 14, `${dials} dials in two minutes`);
});

test("dials are bounded in number, and the next one begins when one ends", async (context) => {
  const { client } = await tunnelCast();
  const pair = await started(context, { limits: { maxDials: 1 } });
  // Another expectation is another key.
  const other = { ...pair.target, expected: [...pair.target.expected, client.svid.id] };
  const opening = [pair.pool.open(pair.target, REQUEST), pair.pool.open(other, REQUEST)];
  equal(pair.pool.stats().dials, 1);
  equal(pair.pool.stats().waiting, 2);
  for (const tunnel of await Promise.all(opening)) ok(!isFailure(tunnel));
  equal(pair.pool.stats().sessions, 2);
  equal(pair.pool.stats().waiting, 0);
});

test("all who wait are bounded in number, whomever they wait for", async (context) => {
  const pair = await started(context, { limits: { maxWaiters: 5 } });
  const results = await Promise.all(Array.from({ length: 8 }, () => pair.pool.open(pair.target, REQUEST)));
  equal(results.filter((result) => isFailure(result) && result.code === "TOO_MANY_WAITERS").length, 3);
});

test("at the bound of all sessions an idle one makes room, a busy one does not", async (context) => {
  const { client } = await tunnelCast();
  const { pair, clock } = await timed(context, { limits: { maxPooledSessions: 1 } });
  const other = { ...pair.target, expected: [...pair.target.expected, client.svid.id] };
  const tunnel = await pair.open();
  const refused = await pair.pool.open(other, REQUEST);
  ok(isFailure(refused));
  equal(refused.code, "TOO_MANY_CONNECTIONS");
  tunnel.stream.resume().close();
  await until("the stream to end", () => pair.pool.stats().streams === 0);
  clock.advance(10);
  ok(!isFailure(await pair.pool.open(other, REQUEST)));
  await until("the idle session to end", () => pair.pool.stats().sessions === 1);
});
