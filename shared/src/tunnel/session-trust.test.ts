// What becomes of sessions, at either end, when what proved their peer ends, is revoked, or is looked at anew.
import { deepEqual, equal, ok } from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import type { Issuer, Minted } from "@culvert/test/support/ca.ts";
import { mintCrl } from "@culvert/test/support/crl.ts";
import { identityOf } from "@culvert/test/support/identity.ts";
import type { TestSource } from "@culvert/test/support/identity.ts";
import { must, tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import type { PairOptions, TunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { until, within } from "@culvert/test/support/until.ts";
import { isFailure } from "../failure/failure.ts";
import { makeIdentity } from "../identity/identity.ts";
import type { Identity } from "../identity/source.ts";
import { revocationListsFromDers, takeRevocations } from "../identity/trust/revocations.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "./limits.ts";
import type { OpenTunnel } from "./pool.ts";

const authority = await testAuthority();
const stranger = await testAuthority("stranger.test");
const client = await mintSvid(authority, svidName(authority, "default", "client"));
const server = await mintSvid(authority, svidName(authority, "default", "server"));
const other = await mintSvid(authority, svidName(authority, "default", "other"));

const MINUTE_MS = 60_000;
/** For tests that move the clock faster than a PING is answered. */
const FAST = { pingIntervalMs: 1e12 };
const ENDS = ["client", "server"] as const;

async function started(context: TestContext, options: PairOptions = {}): Promise<TunnelPair> {
  const pair = await tunnelPair({
    onRequest: (accepted) => void accepted.accept(),
    client: identityOf(client, [authority]),
    server: identityOf(server, [authority]),
    ...options,
  });
  context.after(() => pair.close());
  return pair;
}

/** Both ends have acknowledged SETTINGS: the answer to a second request comes after ours. */
async function acknowledged(pair: TunnelPair, { stream }: OpenTunnel): Promise<void> {
  await until("SETTINGS", () => stream.session?.pendingSettingsAck === false);
  const second = await pair.open();
  second.stream.resume();
}

/** The same identity, which holds `revoked` for revoked by `issuer`. */
async function revoking(identity: Identity, issuer: Issuer, revoked: readonly Minted[]): Promise<Identity> {
  const lists = must(revocationListsFromDers([await mintCrl(issuer, { revoked })], "test"));
  const { revocations } = takeRevocations(new Map(), lists, []);
  return must(makeIdentity(identity.svid, identity.bundles, { revocations }));
}

function sourceOf(pair: TunnelPair, end: "client" | "server"): TestSource {
  return end === "client" ? pair.clientSource : pair.serverSource;
}

for (const end of ENDS) {
  for (const [what, issuer, revoked] of [
    ["a revoked peer", authority.intermediate, end === "client" ? [server] : [client]],
    ["whom a revoked intermediate vouches for", authority.root, [authority.intermediate]],
  ] as const) {
    test(`${what} is cut off at once, at the ${end}'s end, and comes back no more`, async (context) => {
      const pair = await started(context);
      const tunnel = await pair.open();
      const closed = new Promise((resolve) => void tunnel.stream.resume().once("close", resolve));
      const source = sourceOf(pair, end);
      source.replace(await revoking(source.get(), issuer, revoked as readonly Minted[]));
      await within("the tunnel to end", closed, 1_000);
      ok(tunnel.stream.rstCode !== 0);
      const events = end === "client" ? pair.poolEvents : pair.serverEvents;
      const { failure } = await until("the event", () => events.findLast(({ kind }) => kind === "session-ended"));
      equal(failure?.code, "IDENTITY_REVOKED");
      const again = await pair.pool.open(pair.target, { authority: "10.0.0.1:80", headers: {} });
      ok(isFailure(again));
      if (end === "client") equal(again.code, "IDENTITY_REVOKED");
      else
        await until("the refusal", () =>
          pair.serverEvents.some(
            (event) => event.failure?.code === "IDENTITY_REVOKED" && event.kind === "session-refused",
          ),
        );
    });
  }

  test(`what a session does not stand on leaves it alone, at the ${end}'s end`, async (context) => {
    const clock = new FakeClock(Date.now());
    const still = new FakeClock(Date.now());
    const pair = await started(context, {
      limits: FAST,
      clock: end === "client" ? clock : still,
      serverClock: end === "client" ? still : clock,
    });
    const tunnel = await pair.open();
    await acknowledged(pair, tunnel);
    const source = sourceOf(pair, end);
    source.replace(await revoking(source.get(), authority.intermediate, [other]));
    const minted = end === "client" ? client : server;
    source.replace(identityOf(minted, [authority, stranger]));
    clock.advance(limits.rotationDrainMs + 1_000);
    equal(pair.pool.stats().dials, 0);
    deepEqual([tunnel.stream.session?.closed, tunnel.stream.closed], [false, false]);
    // A root more of the peer's own domain is another bundle: the session is replaced in time.
    const next = await testAuthority();
    source.replace(identityOf(minted, [{ ...authority, bundlePem: authority.bundlePem + next.bundlePem }]));
    await until("the session to be replaced", () => {
      clock.advance(1_000);
      return end === "client"
        ? pair.pool.stats().sessions === 2 || pair.pool.stats().dials > 0
        : tunnel.stream.session?.closed;
    });
    equal(tunnel.stream.closed, false);
  });

  for (const [what, peer] of [
    ["its peer's", end === "client" ? "server" : "client"],
    ["its own", end],
  ] as const) {
    test(`a session ends with ${what} certificate, though the clock goes back: at the ${end}'s end`, async (context) => {
      const { pair, clock, tunnel } = await expiring(context, end, peer, 0);
      clock.jump(-30 * MINUTE_MS);
      clock.advance(10 * MINUTE_MS - 2_000);
      equal(tunnel.stream.closed, false);
      clock.advance(3_000);
      await until("the tunnel to end", () => tunnel.stream.closed);
      ok(tunnel.stream.rstCode !== 0);
      const events = end === "client" ? pair.poolEvents : pair.serverEvents;
      equal(events.findLast(({ kind }) => kind === "session-ended")?.failure?.code, "IDENTITY_EXPIRED");
    });
  }

  test(`a clock that jumps forward ends what has expired by it, at the ${end}'s end`, async (context) => {
    const { clock, tunnel } = await expiring(context, end, end === "client" ? "server" : "client", 0);
    clock.jump(11 * MINUTE_MS);
    clock.advance(1_000);
    await until("the tunnel to end", () => tunnel.stream.closed);
  });

  test(`in the grace a tunnel goes on and none is opened, at the ${end}'s end`, async (context) => {
    const { pair, clock, tunnel } = await expiring(context, end, end === "client" ? "server" : "client", 5 * MINUTE_MS);
    clock.advance(10 * MINUTE_MS + 1_000);
    await until("the session to be drained", () => tunnel.stream.session?.closed);
    // Trust that is looked at anew meanwhile makes no difference to it.
    const source = sourceOf(pair, end);
    source.replace(await revoking(source.get(), authority.intermediate, [other]));
    equal(tunnel.stream.closed, false);
    clock.advance(5 * MINUTE_MS);
    await until("the tunnel to end", () => tunnel.stream.closed);
    ok(tunnel.stream.rstCode !== 0);
  });
}

/** A tunnel on which the certificate of `ends` has ten minutes left, with a clock for the end that is tried. */
async function expiring(
  context: TestContext,
  end: "client" | "server",
  ends: "client" | "server",
  expiredPeerGraceMs: number,
): Promise<{ readonly pair: TunnelPair; readonly clock: FakeClock; readonly tunnel: OpenTunnel }> {
  const now = Math.floor(Date.now() / 1_000) * 1_000;
  const short = await mintSvid(authority, svidName(authority, "default", ends), {
    notAfter: new Date(now + 10 * MINUTE_MS),
  });
  const clock = new FakeClock(now);
  const still = new FakeClock(now);
  const pair = await started(context, {
    [ends]: identityOf(short, [authority]),
    limits: { ...FAST, expiredPeerGraceMs },
    clock: end === "client" ? clock : still,
    serverClock: end === "client" ? still : clock,
  });
  const tunnel = await pair.open();
  tunnel.stream.resume();
  await acknowledged(pair, tunnel);
  return { pair, clock, tunnel };
}
