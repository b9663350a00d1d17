import assert from "node:assert/strict";
import { test } from "node:test";
import { formatDuration, formatSize, parseDuration, parseSize } from "./units.ts";

test("durations", () => {
  const rows: [string, number | undefined][] = [
    ["250ms", 250],
    ["10s", 10_000],
    ["5m", 300_000],
    ["24h", 86_400_000],
    ["0s", 0],
    ["1.5s", undefined],
    ["10", undefined],
    ["10 s", undefined],
    ["-1s", undefined],
    ["10S", undefined],
    ["1d", undefined],
    ["s", undefined],
    ["", undefined],
    ["1h30m", undefined],
    ["999999999999999h", undefined],
    ["1e3s", undefined],
  ];
  for (const [text, expected] of rows) assert.equal(parseDuration(text), expected, text);
});

test("sizes", () => {
  const rows: [string, number | undefined][] = [
    ["0B", 0],
    ["64KiB", 65_536],
    ["16MiB", 16_777_216],
    ["1GiB", 1_073_741_824],
    ["64kB", undefined],
    ["64KB", undefined],
    ["64", undefined],
    ["0.5MiB", undefined],
    ["999999999999999GiB", undefined],
  ];
  for (const [text, expected] of rows) assert.equal(parseSize(text), expected, text);
});

test("what is written reads back", () => {
  const durations: [number, string][] = [
    [0, "0ms"],
    [1, "1ms"],
    [1500, "1500ms"],
    [25_000, "25s"],
    [300_000, "5m"],
    [86_400_000, "24h"],
  ];
  for (const [value, text] of durations) {
    assert.equal(formatDuration(value), text);
    assert.equal(parseDuration(text), value);
  }
  const sizes: [number, string][] = [
    [0, "0B"],
    [65_535, "65535B"],
    [65_536, "64KiB"],
    [134_217_728, "128MiB"],
  ];
  for (const [value, text] of sizes) {
    assert.equal(formatSize(value), text);
    assert.equal(parseSize(text), value);
  }
});
