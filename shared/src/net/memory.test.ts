// When memory is given back: by bytes, after load, and under a trickle; with tools that only count.
import { deepEqual, equal } from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "./fake-clock.ts";
import { MemoryWatch, processMemoryTools } from "./memory.ts";
import type { MemoryTools } from "./memory.ts";

const MIB = 1024 * 1024;
const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

function watched(pauseMs = 1): {
  watch: MemoryWatch;
  clock: FakeClock;
  load: (share: number) => void;
  heap: (mib: number) => void;
  did: string[];
} {
  const clock = new FakeClock();
  const did: string[] = [];
  let share = 0;
  let size = 20 * MIB;
  const tools: MemoryTools = {
    utilization: () => share,
    heap: () => size,
    minor: () => void did.push("minor"),
    major: () => {
      did.push("major");
      clock.advance(pauseMs);
    },
    thorough: () => {
      did.push("thorough");
      clock.advance(pauseMs);
    },
    majorInPieces: async () => void did.push("pieces"),
    trim: () => void did.push("trim"),
  };
  const watch = new MemoryWatch(clock, tools);
  return { watch, clock, did, load: (value) => void (share = value), heap: (mib) => void (size = mib * MIB) };
}

test("a minor collection for every four MiB, between turns", async () => {
  const { watch, did } = watched();
  for (let i = 0; i < 511; i++) watch.received(16 * 1024);
  await turn();
  deepEqual(did, ["minor"]);
  watch.received(16 * 1024);
  equal(did.length, 1);
  await turn();
  deepEqual(did, ["minor", "minor"]);
});

test("load that stops for five seconds is followed by one thorough collection and a trim, and then there is no timer", () => {
  const { watch, clock, did, load } = watched();
  for (let burst = 0; burst < 10; burst++) {
    load(0.8);
    watch.received(MIB);
    clock.advance(3_000);
    load(0.01);
    clock.advance(4_500);
  }
  deepEqual(did, ["minor"].slice(0, did.length));
  clock.advance(500);
  deepEqual(did.slice(-2), ["thorough", "trim"]);
  equal(clock.pending, 0);
});

test("a heap that has grown is collected under load: soon when by much, after a minute when by less, and else not", () => {
  const { watch, clock, did, load, heap } = watched();
  load(0.9);
  watch.worked();
  clock.advance(1_000);
  heap(85);
  clock.advance(8_500);
  deepEqual(did, []);
  clock.advance(500);
  deepEqual(did, ["pieces"]);
  heap(50);
  clock.advance(1_000);
  heap(100);
  clock.advance(58_000);
  equal(did.filter((what) => what === "pieces").length, 1);
  clock.advance(1_500);
  equal(did.filter((what) => what === "pieces").length, 2);
  heap(60);
  clock.advance(1_000);
  heap(80);
  clock.advance(240_000);
  equal(did.filter((what) => what === "pieces").length, 2);
});

test("start-up is followed by the same at once", () => {
  const { watch, clock, did, load } = watched();
  load(0.01);
  watch.worked();
  clock.advance(500);
  deepEqual(did, ["thorough", "trim"]);
  equal(clock.pending, 0);
});

test("a trickle is collected once a minute, if it was worth it and the process has time", () => {
  const { watch, clock, did, load } = watched();
  load(0.1);
  for (let second = 0; second < 240; second++) {
    watch.received(MIB);
    clock.advance(1_000);
  }
  equal(did.filter((what) => what === "trim").length, 3);
  load(0.9);
  for (let second = 0; second < 240; second++) {
    watch.received(MIB);
    clock.advance(1_000);
  }
  equal(did.filter((what) => what === "trim").length, 3);
});

test("connections count as a trickle too, and a quiet process with little to collect is left alone", () => {
  const busy = watched();
  busy.load(0.1);
  for (let i = 0; i < 1_000; i++) busy.watch.connectionEnded();
  busy.clock.advance(61_000);
  deepEqual(busy.did, ["major", "trim"]);
  const idle = watched();
  idle.watch.connectionEnded();
  idle.clock.advance(3_600_000);
  deepEqual(idle.did, []);
  equal(idle.clock.pending, 0);
});

test("handshakes without a byte or a connection after them are followed by a collection", () => {
  const { watch, clock, did, load } = watched();
  for (let i = 0; i < 200; i++) watch.handshakeEnded();
  load(0.5);
  clock.advance(500);
  load(0);
  clock.advance(5_000);
  deepEqual(did, ["thorough", "trim"]);
});

test("where a thorough collection took long, quiet is used for lesser ones, and long ones of these are not done in one piece again", async () => {
  const { watch, clock, did, load } = watched(201);
  for (let round = 0; round < 3; round++) {
    watch.worked();
    load(0);
    clock.advance(500);
  }
  await turn();
  deepEqual(did, ["thorough", "trim", "major", "trim", "pieces", "trim"]);
});

test("the tools of the process work, or do nothing", async () => {
  const tools = processMemoryTools();
  tools.minor();
  tools.major();
  tools.thorough();
  await tools.majorInPieces();
  tools.trim();
  equal(tools.utilization() <= 1, true);
});

test("the full collection of this process is full: it frees what a young one cannot reach", async () => {
  const tools = processMemoryTools();
  let old: object | undefined = { held: Array.from({ length: 1_000 }, () => 0) };
  const seen = new WeakRef(old);
  // Two young collections promote it; from then on only a full one can free it.
  tools.minor();
  tools.minor();
  await turn();
  old = undefined;
  await turn();
  tools.minor();
  equal(seen.deref() === undefined, false);
  await turn();
  tools.major();
  equal(seen.deref(), undefined);
  equal(old, undefined);
});
