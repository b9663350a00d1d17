import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure, fail, isFailure } from "../failure/failure.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { LateNews } from "./late-news.ts";

const WAIT_MS = 5_000;
const LIMITS = { configurationWaitMs: WAIT_MS, maxWaiters: 2 };
const UNKNOWN = new Failure("PEER_NO_DESTINATION", "10.0.0.1:15008: 404", "DESTINATION_UNKNOWN");

/** Asks that are answered by what is set, and how often they were. */
class Peer {
  answer: string | Failure = UNKNOWN;
  asked = 0;
  readonly again = (): Promise<string | Failure> => {
    this.asked += 1;
    return Promise.resolve(this.answer);
  };
}

async function pass(clock: FakeClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 50) {
    clock.advance(50);
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  }
}

function start(news: LateNews, peer: Peer, key = "shop:80"): { readonly outcome: () => string } {
  let outcome = "waits";
  const wait = async (): Promise<void> => {
    const opened = await news.outlast(key, UNKNOWN, peer.again);
    outcome = isFailure(opened) ? opened.code : opened;
  };
  void wait();
  return { outcome: () => outcome };
}

test("it is opened as soon as the peer has heard, asked less and less often", async () => {
  const [clock, peer] = [new FakeClock(), new Peer()];
  const news = new LateNews(clock, LIMITS);
  const waiting = start(news, peer);
  await pass(clock, 2_000);
  assert.equal(waiting.outcome(), "waits");
  assert.ok(peer.asked > 4 && peer.asked < 20, `asked ${peer.asked} times`);
  peer.answer = "open";
  await pass(clock, 500);
  assert.equal(waiting.outcome(), "open");
  assert.equal(clock.pending, 0);
});

test("what is refused for good is waited for once", async () => {
  const [clock, peer] = [new FakeClock(), new Peer()];
  const news = new LateNews(clock, LIMITS);
  const first = start(news, peer);
  await pass(clock, 3_000);
  const second = start(news, peer);
  await pass(clock, 2_000);
  assert.deepEqual([first.outcome(), second.outcome()], ["PEER_NO_DESTINATION", "PEER_NO_DESTINATION"]);
  const { asked } = peer;
  for (let times = 0; times < 3; times += 1) {
    await pass(clock, 30_000);
    const later = start(news, peer);
    await pass(clock, 50);
    assert.equal(later.outcome(), "PEER_NO_DESTINATION");
  }
  assert.equal(peer.asked, asked);
  const other = start(news, peer, "cart:80");
  await pass(clock, 50);
  assert.equal(other.outcome(), "waits");
  // What is not asked for in a minute, or was not refused meanwhile, is news again.
  await pass(clock, 61_000);
  const afresh = start(news, peer);
  await pass(clock, 50);
  assert.equal(afresh.outcome(), "waits");
  await pass(clock, 6_000);
  news.heard("shop:80");
  const again = start(news, peer);
  await pass(clock, 50);
  assert.equal(again.outcome(), "waits");
});

test("another refusal is final, and no more wait than may", async () => {
  const [clock, peer] = [new FakeClock(), new Peer()];
  const news = new LateNews(clock, LIMITS);
  const waiting = [start(news, peer), start(news, peer), start(news, peer)];
  await pass(clock, 50);
  assert.deepEqual(
    waiting.map(({ outcome }) => outcome()),
    ["waits", "waits", "PEER_NO_DESTINATION"],
  );
  peer.answer = fail("PEER_DENIED", "10.0.0.1:15008: 401 DENIED_BY_POLICY");
  await pass(clock, 500);
  assert.deepEqual(
    waiting.slice(0, 2).map(({ outcome }) => outcome()),
    ["PEER_DENIED", "PEER_DENIED"],
  );
  assert.equal(clock.pending, 0);
});
