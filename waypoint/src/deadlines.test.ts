import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { Deadlines, type Due, NEVER } from "./deadlines.ts";

class Entry implements Due {
  dueAt = NEVER;
  fired = 0;

  onDue(): void {
    this.fired += 1;
    this.dueAt = NEVER;
  }
}

test("a deadline is never early and at most two ticks late", () => {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock);
  for (const begin of [0, 1, 100, 249]) {
    const entry = new Entry();
    deadlines.add(entry);
    clock.advance(begin);
    const from = clock.monotonic();
    entry.dueAt = deadlines.in(1000);
    while (entry.fired === 0) clock.advance(1);
    const waited = clock.monotonic() - from;
    assert.ok(waited >= 1000 && waited <= 1500, `${waited} ms from ${begin}`);
    deadlines.remove(entry);
  }
});

test("moving a deadline is enough to put it off", () => {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock);
  const entry = new Entry();
  deadlines.add(entry);
  for (let i = 0; i < 10; i += 1) {
    entry.dueAt = deadlines.in(1000);
    clock.advance(900);
  }
  assert.equal(entry.fired, 0);
  clock.advance(1000);
  assert.equal(entry.fired, 1);
});

test("the timer runs only while somebody waits, and entries may leave within a tick", () => {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock);
  assert.equal(clock.pending, 0);
  const entries = [new Entry(), new Entry()];
  for (const entry of entries) {
    entry.dueAt = 1;
    entry.onDue = () => {
      for (const other of entries) deadlines.remove(other);
      entry.fired += 1;
    };
    deadlines.add(entry);
  }
  assert.equal(clock.pending, 1);
  clock.advance(250);
  assert.equal(
    entries.reduce((sum, entry) => sum + entry.fired, 0),
    1,
  );
  assert.equal(clock.pending, 0);
});
