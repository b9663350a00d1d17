import assert from "node:assert/strict";
import { test } from "node:test";
import { assert as check, property, uint8Array } from "fast-check";
import { contentOf, readChildren, readElement, readSeries } from "./der.ts";

function element(...bytes: number[]): ReturnType<typeof readElement> {
  return readElement(Uint8Array.from(bytes), 0, bytes.length);
}

test("reads short and long lengths", () => {
  assert.deepEqual(element(0x04, 0x02, 0x61, 0x62), { tag: 0x04, from: 0, start: 2, end: 4 });
  assert.deepEqual(element(0x05, 0x00), { tag: 0x05, from: 0, start: 2, end: 2 });
  const long = [0x04, 0x81, 0x80, ...Array.from({ length: 128 }, () => 0)];
  assert.deepEqual(element(...long), { tag: 0x04, from: 0, start: 3, end: 131 });
  const longer = [0x04, 0x82, 0x01, 0x00, ...Array.from({ length: 256 }, () => 0)];
  assert.deepEqual(element(...longer), { tag: 0x04, from: 0, start: 4, end: 260 });
});

const bad: readonly [what: string, bytes: readonly number[]][] = [
  ["nothing", []],
  ["a tag alone", [0x04]],
  ["content cut short", [0x04, 0x02, 0x61]],
  ["a length cut short", [0x04, 0x82, 0x01]],
  ["the indefinite form", [0x30, 0x80, 0x00, 0x00]],
  ["a long form where the short one does", [0x04, 0x81, 0x01, 0x61]],
  ["a length with a leading zero", [0x04, 0x82, 0x00, 0x80, ...Array.from({ length: 128 }, () => 0)]],
  ["a length of four octets", [0x04, 0x84, 0x00, 0x00, 0x00, 0x01, 0x61]],
  ["a tag of several octets", [0x1f, 0x81, 0x01, 0x00]],
];
for (const [what, bytes] of bad) {
  test(`refuses ${what}`, () => assert.equal(element(...bytes), undefined));
}

test("children fill their parent exactly, and are no more than asked for", () => {
  const bytes = Uint8Array.of(0x30, 0x04, 0x05, 0x00, 0x05, 0x00);
  const parent = readElement(bytes, 0, bytes.length);
  assert(parent !== undefined);
  assert.equal(readChildren(bytes, parent, 2)?.length, 2);
  assert.equal(readChildren(bytes, parent, 1), undefined);
  assert.equal(readChildren(bytes, { ...parent, end: 5 }, 2), undefined);
  assert.equal(readChildren(bytes, { ...parent, tag: 0x04 }, 2), undefined, "a primitive element has no children");
});

test("never throws, never reads outside, for any bytes", () => {
  check(
    property(uint8Array({ maxLength: 64 }), (bytes) => {
      for (const each of readSeries(bytes, 0, bytes.length, 16) ?? []) {
        assert(each.start <= each.end && each.end <= bytes.length);
        assert.equal(contentOf(bytes, each).length, each.end - each.start);
      }
    }),
  );
});
