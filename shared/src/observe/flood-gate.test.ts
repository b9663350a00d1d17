import assert from "node:assert/strict";
import { it } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { FloodGate, HELD } from "./flood-gate.ts";

it("lets through so many of a kind per second, counts the rest and tells the next", () => {
  const clock = new FakeClock();
  const gate = new FloodGate(clock, 3);
  assert.deepEqual(
    [1, 2, 3, 4, 5].map(() => gate.admit("a")),
    [0, 0, 0, HELD, HELD],
  );
  assert.equal(gate.admit("b"), 0, "another kind has its own budget");
  clock.advance(999);
  assert.equal(gate.admit("a"), HELD);
  clock.advance(1);
  assert.equal(gate.admit("a"), 3);
  assert.equal(gate.admit("a"), 0);
  assert.equal(gate.suppressed, 3);
});

it("remembers a bounded number of kinds", () => {
  const gate = new FloodGate(new FakeClock(), 1);
  for (let index = 0; index < 100_000; index += 1) assert.equal(gate.admit(`kind ${index}`), 0);
});
