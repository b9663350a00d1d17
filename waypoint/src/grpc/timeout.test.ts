import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { formatGrpcTimeout, parseGrpcTimeout } from "./timeout.ts";

test("every unit", () => {
  const table: readonly (readonly [string, number])[] = [
    ["2H", 7_200_000],
    ["3M", 180_000],
    ["4S", 4_000],
    ["5m", 5],
    ["6000u", 6],
    ["7000000n", 7],
    ["0m", 0],
    ["99999999H", 99_999_999 * 3_600_000],
  ];
  for (const [text, ms] of table) assert.equal(parseGrpcTimeout(text), ms, text);
});

test("what is not well-formed", () => {
  for (const text of [
    "",
    "1",
    "m",
    "123456789m",
    "1s",
    "1h",
    "-1m",
    "+1m",
    "1.5S",
    " 1m",
    "1m ",
    "1m, 2m",
    "0x1m",
    "1µ",
  ])
    assert.equal(parseGrpcTimeout(text), undefined, text);
});

test("written in the finest unit that has room", () => {
  const table: readonly (readonly [number, string])[] = [
    [0, "1u"],
    [0.0004, "1u"],
    [1, "1000u"],
    [99_999.999, "99999999u"],
    [100_000, "100000m"],
    [99_999_999.9, "99999999m"],
    [100_000_000, "100000S"],
    [99_999_999 * 1_000 + 1_000, "1666666M"],
    [99_999_999 * 60_000 + 60_000, "1666666H"],
    [Number.MAX_VALUE, "99999999H"],
  ];
  for (const [ms, text] of table) assert.equal(formatGrpcTimeout(ms), text, String(ms));
});

test("what is written is read back, never longer, and shorter by no more than a unit", () => {
  fc.assert(
    fc.property(fc.double({ min: 0.001, max: 1e14, noNaN: true }), (ms) => {
      const back = parseGrpcTimeout(formatGrpcTimeout(ms)) ?? Number.NaN;
      assert.ok(back <= ms * (1 + 1e-12) && back > ms / 2, `${ms} → ${back}`);
    }),
  );
});
