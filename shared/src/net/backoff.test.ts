import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backoffDelay, type BackoffShape } from "./backoff.ts";

const shape: BackoffShape = { baseMs: 100, capMs: 10_000 };

describe("backoffDelay without jitter", () => {
  const rows: [BackoffShape, number, number][] = [
    [shape, 1, 100],
    [shape, 2, 200],
    [shape, 5, 1600],
    [shape, 8, 10_000],
    [shape, 1_000_000, 10_000],
    [shape, 0, 100],
    [{ ...shape, factor: 3 }, 3, 900],
    [{ ...shape, factor: 1 }, 9, 100],
  ];
  for (const [row, failures, expected] of rows) {
    test(`${failures} failures, factor ${row.factor ?? 2}`, () =>
      assert.equal(backoffDelay(row, failures, 0), expected));
  }
});

test("jitter only shortens, down to its share", () => {
  assert.equal(backoffDelay(shape, 1, 0.5), 75);
  assert.ok(backoffDelay(shape, 1, 0.999_999) >= 50);
  assert.equal(backoffDelay({ ...shape, jitter: 0 }, 3, 0.7), 400);
  assert.ok(backoffDelay({ ...shape, jitter: 1 }, 3, 0.999) > 0);
});
