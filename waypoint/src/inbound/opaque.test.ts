import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { stalledTunnels } from "@culvert/shared/tunnel/stalled.ts";
import { FakeChannel } from "../channel-fixtures.ts";
import { OpaqueRelay, type OpaqueEnded } from "./opaque.ts";

function relayed() {
  const client = new FakeChannel();
  const upstream = new FakeChannel();
  const clock = new FakeClock();
  const ends: OpaqueEnded[] = [];
  const relay = new OpaqueRelay({
    client,
    upstream,
    clock,
    halfClosedIdleMs: 1_000,
    onEnd: (ended) => void ends.push(ended),
  });
  relay.start();
  return { client, upstream, clock, ends, relay };
}

test("bytes pass both ways and are counted", () => {
  const { client, upstream, relay } = relayed();
  client.receive("ping");
  upstream.receive("pong!");
  assert.equal(upstream.written, "ping");
  assert.equal(client.written, "pong!");
  assert.deepEqual([relay.fromClient, relay.toClient], [4, 5]);
});

test("one direction may end while the other goes on", () => {
  const { client, upstream, ends, clock } = relayed();
  client.receiveEnd();
  assert.ok(upstream.ended && !client.ended);
  upstream.receive("late");
  assert.equal(client.written, "late");
  upstream.receiveEnd();
  assert.ok(client.ended);
  client.close();
  assert.deepEqual(ends, []);
  upstream.close();
  assert.deepEqual(ends, [{ fromClient: 0, toClient: 4, failure: undefined }]);
  assert.equal(clock.pending, 0);
});

test("what breaks on one side is reset on the other", () => {
  const lost = fail("PEER_LOST", "");
  for (const side of ["client", "upstream"] as const) {
    const { client, upstream, ends } = relayed();
    (side === "client" ? client : upstream).close(lost);
    assert.ok((side === "client" ? upstream : client).wasReset);
    assert.deepEqual(
      ends.map((ended) => ended.failure),
      [lost],
    );
  }
});

test("a slow reader holds back the writer", () => {
  const { client, upstream } = relayed();
  upstream.room = false;
  client.receive("x");
  assert.ok(client.paused && !upstream.paused);
  upstream.drain();
  assert.ok(!client.paused);
});

test("a direction that is held back counts as stalled until there is room, or until the relay is over", () => {
  const before = stalledTunnels.count;
  const { client, upstream, relay } = relayed();
  upstream.room = false;
  client.receive("x");
  client.receive("y");
  assert.equal(stalledTunnels.count, before + 1);
  upstream.drain();
  assert.equal(stalledTunnels.count, before);
  for (const channel of [client, upstream]) channel.room = false;
  client.receive("x");
  upstream.receive("x");
  assert.equal(stalledTunnels.count, before + 2);
  relay.abort(fail("POLICY_CHANGED", ""));
  client.receive("x");
  assert.equal(stalledTunnels.count, before);
});

test("half-closed and silent is ended, half-closed and busy is not", () => {
  const { client, upstream, clock, ends } = relayed();
  client.receiveEnd();
  clock.advance(900);
  upstream.receive("x");
  clock.advance(900);
  assert.deepEqual(ends, []);
  clock.advance(1_100);
  assert.equal(ends.length, 1);
  assert.ok(client.wasReset && upstream.wasReset);
  assert.equal(clock.pending, 0);
});

test("an abort ends both sides once", () => {
  const { client, upstream, ends, relay } = relayed();
  const changed = fail("POLICY_CHANGED", "default/no");
  relay.abort(changed);
  relay.abort(fail("INTERNAL", ""));
  client.close();
  upstream.close();
  assert.ok(client.wasReset && upstream.wasReset);
  assert.deepEqual(
    ends.map((ended) => ended.failure),
    [changed],
  );
});
