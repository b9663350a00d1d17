import assert from "node:assert/strict";
import { test } from "node:test";
import type { RequestDraft } from "./http/message.ts";
import { countHop } from "./max-forwards.ts";

function draft(fields: string): RequestDraft {
  return { method: "OPTIONS", path: "*", authority: "reviews", fields };
}

test("a number is counted down, and zero goes no further", () => {
  const rows: readonly (readonly [fields: string, after: string | undefined])[] = [
    ["", ""],
    ["a: b\r\n", "a: b\r\n"],
    ["Max-Forwards: 10\r\na: b\r\n", "a: b\r\nmax-forwards: 9\r\n"],
    ["max-forwards:1\r\n", "max-forwards: 0\r\n"],
    ["max-forwards: 0\r\n", undefined],
    ["max-forwards: 00\r\n", undefined],
    ["max-forwards: -1\r\n", "max-forwards: -1\r\n"],
    ["max-forwards: many\r\n", "max-forwards: many\r\n"],
    ["max-forwards: 1\r\nmax-forwards: 1\r\n", "max-forwards: 1\r\nmax-forwards: 1\r\n"],
  ];
  for (const [fields, after] of rows) {
    const request = draft(fields);
    assert.equal(countHop(request) ? request.fields : undefined, after, fields);
  }
});
