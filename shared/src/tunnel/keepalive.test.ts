import assert from "node:assert/strict";
import type { Http2Session } from "node:http2";
import { test } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { Keepalive } from "./keepalive.ts";
import { DEFAULT_TUNNEL_LIMITS } from "./limits.ts";

/** A session whose peer answers when told to. */
function setUp() {
  const clock = new FakeClock();
  const asked: ((error: Error | null) => void)[] = [];
  const session = {
    destroyed: false,
    connecting: false,
    closed: false,
    socket: { bytesRead: 0 },
    ping: (done: (error: Error | null) => void) => asked.push(done),
  };
  const limits = { ...DEFAULT_TUNNEL_LIMITS, pingIntervalMs: 10_000, pingTimeoutMs: 20_000 };
  const keepalive = new Keepalive(session as unknown as Http2Session, limits, clock);
  /** Lets time pass with a tick a second; whether the session still counts as alive after each. */
  const pass = (seconds: number): boolean => {
    let alive = true;
    for (let second = 0; second < seconds && alive; second++) {
      clock.advance(1_000);
      alive = keepalive.tick();
    }
    return alive;
  };
  return { clock, asked, keepalive, pass, socket: session.socket };
}

test("a peer that owes an answer for too long is dead", () => {
  const { asked, pass } = setUp();
  assert.equal(pass(10), true);
  assert.equal(asked.length, 1);
  assert.equal(pass(19), true);
  assert.equal(pass(1), false);
});

test("a peer whose answer stands in line behind its bytes lives while they come", () => {
  const { pass, socket } = setUp();
  assert.equal(pass(29), true);
  for (let round = 0; round < 3; round++) {
    socket.bytesRead += 1;
    assert.equal(pass(20), true);
  }
  assert.equal(pass(20), false);
});

test("time in which we could not read is not the peer's", () => {
  const { clock, asked, keepalive, pass } = setUp();
  assert.equal(pass(10), true);
  clock.advance(60_000);
  assert.equal(keepalive.tick(), true, "stopped for a minute, and no look at the answer yet");
  asked[0]?.(null);
  assert.equal(pass(10), true);
  assert.equal(asked.length, 2);
  // A tenth of a processor: every tick comes late, and the answers too.
  for (let tick = 0; tick < 10; tick++) {
    clock.advance(5_000);
    assert.equal(keepalive.tick(), true);
  }
});

test("a peer that is dead is found all the same once we run again", () => {
  const { clock, keepalive, pass } = setUp();
  assert.equal(pass(10), true);
  clock.advance(60_000);
  assert.equal(keepalive.tick(), true);
  assert.equal(pass(20), false);
});
