import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { ProofLife } from "./proof-life.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

function lifeOf(minutes: number, graceMs = 0): { readonly clock: FakeClock; readonly life: ProofLife } {
  const clock = new FakeClock();
  return { clock, life: new ProofLife(clock, clock.now() + minutes * MINUTE, graceMs) };
}

test("it ends with the certificate, to the millisecond, also after a year", () => {
  const { clock, life } = lifeOf(365 * 24 * 60);
  clock.advance(365 * 24 * HOUR - 1);
  assert.equal(life.due, undefined);
  clock.advance(1);
  assert.equal(life.due, "end");
});

test("a clock that jumps forward ends what has expired by it", () => {
  const { clock, life } = lifeOf(30);
  clock.jump(HOUR);
  assert.equal(life.due, "end");
});

test("a clock that jumps back prolongs nothing", () => {
  const { clock, life } = lifeOf(30);
  clock.jump(-HOUR);
  clock.advance(30 * MINUTE - 1);
  assert.equal(life.due, undefined);
  clock.advance(1);
  assert.equal(life.due, "end");
});

test("in the grace nothing new begins, and after it all ends", () => {
  const { clock, life } = lifeOf(30, 5 * MINUTE);
  clock.advance(30 * MINUTE);
  assert.equal(life.due, "drain");
  assert.equal(life.hasEnded(clock.now(), clock.monotonic()), true);
  clock.jump(-HOUR);
  clock.advance(5 * MINUTE);
  assert.equal(life.due, "end");
});

test("a proof that is made anew may end earlier, and never later", () => {
  const { clock, life } = lifeOf(30);
  life.renew(clock.now() + HOUR);
  clock.advance(10 * MINUTE);
  life.renew(clock.now() + 5 * MINUTE);
  clock.jump(-HOUR);
  life.renew(clock.now() + 30 * MINUTE);
  clock.advance(5 * MINUTE);
  assert.equal(life.due, "end");
});

test("a new proof is made by the time now, but not by one before the first, nor by one after the end", () => {
  const { clock, life } = lifeOf(30, HOUR);
  const begun = clock.now();
  clock.jump(-HOUR);
  assert.equal(life.now(), begun);
  clock.jump(HOUR + 5 * MINUTE);
  assert.equal(life.now(), begun + 5 * MINUTE);
  clock.jump(HOUR);
  assert.equal(life.now(), begun + 30 * MINUTE);
});
