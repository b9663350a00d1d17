import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "./fake-clock.ts";
import { MemoryCap, processMemoryCap } from "./memory-cap.ts";

const MIB = 1024 * 1024;

function reason({ shortage }: MemoryCap): string | undefined {
  assert.ok(shortage === undefined || shortage.code === "MEMORY_SHORT");
  return shortage?.detail;
}

function setUp() {
  const clock = new FakeClock();
  const state = { allowed: 128 * MIB, used: 20 * MIB, heap: 0.1, garbage: 0, collections: 0, looks: 0 };
  const cap = new MemoryCap({
    clock,
    allowed: () => state.allowed,
    used: () => {
      state.looks += 1;
      return state.used;
    },
    heapShare: () => state.heap,
    collect: () => {
      state.collections += 1;
      state.used -= state.garbage;
      state.garbage = 0;
    },
  });
  return { clock, state, cap };
}

test("from 85 % on there is a shortage, and below there is none", () => {
  const { clock, state, cap } = setUp();
  assert.equal(cap.shortage, undefined);
  state.used = 109 * MIB;
  clock.advance(50);
  assert.equal(reason(cap), "109 MiB of 128 MiB are in use");
  state.used = 108 * MIB;
  clock.advance(50);
  assert.equal(cap.shortage, undefined);
});

test("garbage is given back first, but not all the time", () => {
  const { clock, state, cap } = setUp();
  state.used = 120 * MIB;
  state.garbage = 60 * MIB;
  assert.equal(cap.shortage, undefined);
  assert.equal(state.collections, 1);
  state.used = 120 * MIB;
  clock.advance(900);
  assert.ok(cap.shortage);
  assert.equal(state.collections, 1);
  clock.advance(100);
  assert.ok(cap.shortage);
  assert.equal(state.collections, 2);
});

test("a look serves all streams of a short while", () => {
  const { clock, state, cap } = setUp();
  for (let index = 0; index < 1_000; index++) void cap.shortage;
  assert.equal(state.looks, 1);
  clock.advance(50);
  void cap.shortage;
  assert.equal(state.looks, 2);
});

test("a heap that is nearly full counts as well, and the lower of two limits", () => {
  const { clock, state, cap } = setUp();
  state.heap = 0.9;
  assert.equal(reason(cap), "90 % of the heap are in use");
  state.heap = 0.1;
  state.used = 60 * MIB;
  clock.advance(1_000);
  assert.equal(cap.shortage, undefined);
  cap.bound(64 * MIB);
  clock.advance(50);
  assert.equal(reason(cap), "60 MiB of 64 MiB are in use");
  cap.bound(1024 * MIB);
  assert.equal(cap.limit, 128 * MIB);
});

test("this process is measured, and is not short", () => {
  assert.ok(processMemoryCap.used > MIB && processMemoryCap.used < 1024 * MIB);
  assert.equal(processMemoryCap.shortage, undefined);
});
