import assert from "node:assert/strict";
import { test } from "node:test";
import { Descriptors } from "./descriptors.ts";
import { FakeClock } from "./fake-clock.ts";

function setUp(limit = 256, canPause = true) {
  const clock = new FakeClock();
  const changes: boolean[] = [];
  const table = { free: 40, paused: false };
  const descriptors = new Descriptors({
    clock,
    limit: () => limit,
    lowestFree: () => table.free,
    pause: () => {
      table.paused = true;
      return canPause;
    },
    resume: () => void (table.paused = false),
  });
  descriptors.watch((short) => changes.push(short));
  return { clock, changes, table, descriptors };
}

test("a connection whose number is high pauses accepting, until a low number is free", () => {
  const { clock, changes, table, descriptors } = setUp();
  assert.equal(descriptors.admit(223), true);
  assert.equal(table.paused, false);
  assert.equal(descriptors.admit(224), true, "what was accepted is kept");
  assert.equal(table.paused, true);
  assert.equal(descriptors.shortage?.code, "TOO_MANY_CONNECTIONS");
  table.free = 230;
  clock.advance(1_000);
  assert.equal(table.paused, true);
  table.free = 224 - 1;
  clock.advance(20);
  assert.equal(table.paused, false);
  assert.equal(descriptors.shortage, undefined);
  clock.advance(5_000);
  assert.deepEqual(changes, [true, false]);
  assert.equal(descriptors.pauses, 1);
  assert.equal(clock.pending, 0, "no timer while there are enough");
});

test("where accepting cannot pause, what is over is closed at once", () => {
  const { descriptors } = setUp(256, false);
  assert.equal(descriptors.admit(224), false);
  assert.equal(descriptors.admit(100), true);
});

test("a shortage that comes back at once is one shortage, and one that lasts asks for a restart", () => {
  const { clock, changes, table, descriptors } = setUp();
  for (let second = 0; second < 59; second++) {
    table.free = 250;
    descriptors.admit(250);
    clock.advance(900);
    table.free = 200;
    clock.advance(100);
    assert.equal(descriptors.lasting, false);
  }
  descriptors.exhausted();
  clock.advance(1_000);
  assert.equal(descriptors.lasting, true);
  assert.deepEqual(changes, [true]);
  table.free = 10;
  clock.advance(5_100);
  assert.equal(descriptors.lasting, false);
  assert.deepEqual(changes, [true, false]);
});

test("an unknown limit is none", () => {
  const { table, descriptors } = setUp(Infinity);
  assert.equal(descriptors.admit(1_000_000), true);
  assert.equal(table.paused, false);
});
