// Many waits on one timer: each at its time, none after it was cancelled, no timer left behind.
import { deepEqual, equal } from "node:assert/strict";
import { test } from "node:test";
import { Deadlines } from "./deadlines.ts";
import { FakeClock } from "./fake-clock.ts";

test("each wait runs at its time, and a cancelled one never", () => {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock, 1_000);
  const ran: string[] = [];
  deadlines.after(() => void ran.push("a"));
  clock.advance(400);
  const cancelled = deadlines.after(() => void ran.push("b"));
  deadlines.after(() => void ran.push("c"));
  equal(clock.pending, 1);
  clock.advance(599);
  deepEqual(ran, []);
  clock.advance(1);
  deepEqual(ran, ["a"]);
  cancelled.cancel();
  cancelled.cancel();
  clock.advance(399);
  deepEqual(ran, ["a"]);
  clock.advance(1);
  deepEqual(ran, ["a", "c"]);
  cancelled.cancel();
  equal(clock.pending, 0);
});

test("waits that are added while others run wait their full time", () => {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock, 100);
  let runs = 0;
  const again = (): void => {
    runs += 1;
    deadlines.after(again);
  };
  deadlines.after(again);
  clock.advance(1_000);
  equal(runs, 10);
});

test("when all are cancelled the timer runs out once and is not set again", () => {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock, 100);
  for (let i = 0; i < 1_000; i++) deadlines.after(() => equal(i, -1)).cancel();
  equal(clock.pending, 1);
  clock.advance(1_000);
  equal(clock.pending, 0);
});
