import assert from "node:assert/strict";
import { test } from "node:test";
import { nearest } from "./near-miss.ts";

test("nearest", () => {
  const known = ["identity", "inbound", "outbound", "log", "limits", "workloadApi"];
  const rows: [string, string | undefined][] = [
    ["identiy", "identity"],
    ["idnetity", "identity"],
    ["Identity", "identity"],
    ["workloadAPI", "workloadApi"],
    ["workload_api", "workloadApi"],
    ["outbuond", "outbound"],
    ["lgo", "log"],
    ["log", "log"],
    ["x", undefined],
    ["completely", undefined],
    ["", undefined],
    ["__proto__", undefined],
    ["i".repeat(100_000), undefined],
  ];
  for (const [word, expected] of rows) assert.equal(nearest(word, known), expected, word.slice(0, 20));
  assert.equal(nearest("log", []), undefined);
});
