import assert from "node:assert/strict";
import { test } from "node:test";
import { array, assert as check, integer, maxSafeNat, oneof, property, string, tuple, uint8Array } from "fast-check";
import { bytesOf, decodeMessage, encodeMessage, mapOf, textOf } from "./message.ts";

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");

test("writes the examples of the format's own documentation", () => {
  assert.deepEqual(encodeMessage([[1, 150]]), hex("08 96 01"));
  assert.deepEqual(encodeMessage([[2, "testing"]]), hex("12 07 74 65 73 74 69 6e 67"));
  assert.deepEqual(encodeMessage([[3, hex("08 96 01")]]), hex("1a 03 08 96 01"));
  assert.deepEqual(encodeMessage([[1, 0]]), hex("08 00"));
  // 24 hours in nanoseconds does not fit 32 bits.
  assert.deepEqual(decodeMessage(encodeMessage([[3, 86_400_000_000_000]]))?.[0]?.value, 86_400_000_000_000n);
});

test("reads back what it wrote", () => {
  const value = oneof(string(), uint8Array(), maxSafeNat());
  check(
    property(array(tuple(integer({ min: 1, max: 536_870_911 }), value)), (fields) => {
      const read = decodeMessage(encodeMessage(fields));
      const plain = read?.map((field) => [
        field.number,
        typeof field.value === "bigint" ? Number(field.value) : Buffer.from(field.value).toString("hex"),
      ]);
      const wanted = fields.map(([number, each]) => [
        number,
        typeof each === "number" ? each : Buffer.from(each as string).toString("hex"),
      ]);
      assert.deepEqual(plain, wanted);
    }),
  );
});

test("any bytes are a message or none, and never an error", () => {
  check(
    property(uint8Array({ maxLength: 200 }), (bytes) => {
      const fields = decodeMessage(bytes) ?? [];
      assert(fields.every(({ number }) => number > 0));
    }),
  );
});

test("fields of types that nobody reads are passed over", () => {
  const fields = decodeMessage(hex("0d 01020304  09 0102030405060708  12 01 61"));
  assert.equal(textOf(fields ?? [], 2), "a");
  assert.equal(fields?.length, 3);
});

for (const [what, bytes] of [
  ["a field that is cut", "12 05 61"],
  ["a length without an end", "12 ff ff ff ff ff ff ff ff ff ff 01"],
  ["a length beyond all memory", "12 ff ff ff ff ff ff ff ff 7f"],
  ["a group", "0b 0c"],
  ["field number 0", "02 00"],
  ["a tag beyond 32 bits", "80 80 80 80 80 01 00"],
  ["a fixed number that is cut", "0d 01 02"],
] as const) {
  test(`refuses ${what}`, () => assert.equal(decodeMessage(hex(bytes)), undefined));
}

test("refuses more fields than a message may have", () => {
  assert.equal(decodeMessage(Buffer.from("0800".repeat(10_000), "hex"))?.length, 10_000);
  assert.equal(decodeMessage(Buffer.from("0800".repeat(10_001), "hex")), undefined);
});

function entry(key: string, value?: string): Buffer {
  return encodeMessage(
    value === undefined
      ? [[1, key]]
      : [
          [1, key],
          [2, value],
        ],
  );
}

test("a map's last entry of a key counts, and one without a value is empty", () => {
  const message = encodeMessage([
    [2, entry("a", "1")],
    [2, entry("a", "2")],
    [2, entry("b")],
  ]);
  const map = mapOf(decodeMessage(message) ?? [], 2) ?? new Map();
  assert.deepEqual(
    [...map].map(([key, value]) => [key, String(Buffer.from(value))]),
    [
      ["a", "2"],
      ["b", ""],
    ],
  );
  assert.equal(mapOf(decodeMessage(encodeMessage([[2, "\u000b"]])) ?? [], 2), undefined);
  assert.deepEqual(bytesOf([], 1), []);
});
