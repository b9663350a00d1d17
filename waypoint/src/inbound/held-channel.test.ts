import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { FakeChannel } from "../channel-fixtures.ts";
import type { ByteSink } from "../channel/channel.ts";
import { HeldChannel } from "./held-channel.ts";

class Recorder implements ByteSink {
  events: string[] = [];
  onBytes(chunk: Buffer): void {
    this.events.push(chunk.toString("latin1"));
  }
  onEnd(): void {
    this.events.push("end");
  }
  onDrain(): void {
    this.events.push("drain");
  }
  onClose(): void {
    this.events.push("close");
  }
}

function held(): { channel: FakeChannel; hold: HeldChannel; changes: () => number } {
  const channel = new FakeChannel();
  let count = 0;
  const hold = new HeldChannel(channel, () => (count += 1));
  hold.start();
  return { channel, hold, changes: () => count };
}

test("the next owner gets what was held, then what follows", () => {
  const { channel, hold, changes } = held();
  channel.receive("GET ");
  channel.receive("/");
  assert.equal(hold.bytes.toString(), "GET /");
  assert.equal(changes(), 2);
  const next = new Recorder();
  hold.handOver().attach(next);
  channel.receive(" HTTP/1.1");
  channel.receiveEnd();
  assert.deepEqual(next.events, ["GET /", " HTTP/1.1", "end"]);
  assert.equal(changes(), 2, "nothing is told after the hand-over");
});

test("an end or a close that came meanwhile is not lost", () => {
  const ended = held();
  ended.channel.receive("x");
  ended.channel.receiveEnd();
  const first = new Recorder();
  ended.hold.handOver().attach(first);
  assert.deepEqual(first.events, ["x", "end"]);
  const closed = held();
  closed.channel.close(fail("DOWNSTREAM_CLOSED", ""));
  const second = new Recorder();
  closed.hold.handOver().attach(second);
  assert.deepEqual(second.events, ["close"]);
});

test("a sender of much is held back, and let go on by the next owner", () => {
  const { channel, hold } = held();
  channel.receive("x".repeat(64 * 1024));
  assert.ok(channel.paused);
  hold.handOver().attach(new Recorder());
  assert.ok(!channel.paused);
});

test("an owner that pauses while it gets what was held stays paused", () => {
  const { channel, hold } = held();
  channel.receive("x");
  const replayed = hold.handOver();
  const next = new Recorder();
  next.onBytes = () => replayed.pause();
  replayed.attach(next);
  assert.ok(channel.paused);
});

test("a channel without an owner is reset", () => {
  const { channel, hold } = held();
  const failure = fail("NO_HEALTHY_UPSTREAM", "");
  hold.abandon(failure);
  assert.equal(channel.resetBy, failure);
});
