import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { Packr, Unpackr } from "msgpackr/pack";
import { pack, Packed, refusal, unpack, type Plain } from "./messagepack.ts";

const DEPTH = 100;
const theirs = new Packr({ useRecords: false });
const reader = new Unpackr({ useRecords: false, int64AsType: "number" });

const { plain } = fc.letrec<{ plain: Plain }>((tie) => ({
  plain: fc.oneof(
    { maxDepth: 5 },
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.integer(),
    fc.maxSafeInteger(),
    // No configuration knows a zero below zero.
    fc.double({ noNaN: true }).map((value) => value + 0),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("plain"), { maxLength: 20 }),
  ),
}));

test("another implementation reads what we write, and we read what it writes", () => {
  fc.assert(
    fc.property(plain, (value) => {
      const ours = pack(value);
      assert.equal(refusal(ours, DEPTH), undefined);
      assert.deepEqual(unpack(ours), value);
      assert.deepEqual(reader.unpack(ours), value);
      const other = theirs.pack(value);
      assert.equal(refusal(other, DEPTH), undefined);
      assert.deepEqual(unpack(other), value);
    }),
    { numRuns: 500 },
  );
});

test("lengths at every change of form", () => {
  for (const length of [0, 15, 16, 31, 32, 255, 256, 65_535, 65_536]) {
    for (const value of ["x".repeat(length), Array.from({ length }, () => 1)] as Plain[]) {
      const packed = pack(value);
      assert.equal(refusal(packed, DEPTH), undefined);
      assert.deepEqual(unpack(packed), value);
      assert.deepEqual(reader.unpack(packed), value);
    }
  }
});

test("maps, where they are allowed, as another implementation writes and reads them", () => {
  const maps = new Unpackr({ useRecords: false, int64AsType: "number", mapsAsObjects: false });
  for (const size of [0, 1, 15, 16, 65_535, 65_536]) {
    const map = new Map(Array.from({ length: size }, (_, index): [string, Plain] => [`k${index}`, index]));
    const ours = pack(map);
    assert.equal(refusal(ours, DEPTH, { maps: true }), undefined);
    assert.match(refusal(ours, DEPTH) ?? "", /begins nothing that is allowed there/);
    assert.deepEqual(unpack(ours), map);
    assert.deepEqual(maps.unpack(ours), map);
    assert.equal(refusal(theirs.pack(map), DEPTH, { maps: true }), undefined);
    assert.deepEqual(unpack(theirs.pack(map)), map);
  }
  assert.match(refusal(Buffer.from([0x81, 0x91, 1, 1]), DEPTH, { maps: true }) ?? "", /that is no string/);
  assert.match(
    refusal(Buffer.from([0x82, 0xa0, 1, 1, 1]), DEPTH, { maps: true }) ?? "",
    /a key at 3 that is no string/,
  );
  assert.match(refusal(Buffer.from([0x81, 0xa0]), DEPTH, { maps: true }) ?? "", /items in|ends within/);
  assert.match(refusal(pack([1, [2, 3]]), DEPTH, { values: 4 }) ?? "", /at most 4 values/);
});

test("what is packed already is written as it is", () => {
  assert.deepEqual(pack([1, new Packed(pack(["a", 2]))]), pack([1, ["a", 2]]));
});

test("whatever is not refused can be read", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 100 }), (bytes) => {
      for (const maps of [false, true]) if (refusal(bytes, DEPTH, { maps }) === undefined) unpack(bytes);
    }),
    { numRuns: 5_000 },
  );
});
