import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { Base64Decoder, encodeBase64 } from "./base64.ts";

/** What a text in these pieces is decoded to; `undefined` when it is refused, or not whole. */
function decoded(pieces: readonly string[]): Buffer | undefined {
  const decoder = new Base64Decoder();
  const out: Buffer[] = [];
  for (const piece of pieces) {
    // Not at the beginning of its buffer, as bytes from a socket are.
    const bytes = Buffer.from(`@${piece}@`, "latin1");
    const some = decoder.decode(bytes, 1, bytes.length - 1);
    if (some === undefined) return undefined;
    out.push(some);
  }
  return decoder.isWhole ? Buffer.concat(out) : undefined;
}

test("any bytes, encoded in any pieces and cut at every place", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 9 }), { maxLength: 4 }), (parts) => {
      const text = parts.map((part) => encodeBase64(Buffer.from(part), 0, part.length).toString()).join("");
      const expected = Buffer.concat(parts);
      for (let at = 0; at <= text.length; at += 1) {
        assert.deepEqual(decoded([text.slice(0, at), text.slice(at)]), expected);
      }
      assert.deepEqual(decoded(text.split("")), expected);
    }),
    { numRuns: 200 },
  );
});

test("as the runtime decodes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.deepEqual(decoded([Buffer.from(bytes).toString("base64")]), Buffer.from(bytes));
    }),
  );
});

test("part of a buffer", () => {
  assert.equal(encodeBase64(Buffer.from("xabcx"), 1, 4).toString(), Buffer.from("abc").toString("base64"));
});

test("what is no base64 is refused wherever it is cut", () => {
  for (const text of ["====", "A===", "AA=A", "AAA=A===", "AA\n==", "AAAA AAAA", "AA-_", "AAAA====", "ÄAAA", "AA\0A"]) {
    for (let at = 0; at <= text.length; at += 1) {
      assert.equal(decoded([text.slice(0, at), text.slice(at)]), undefined, JSON.stringify([text, at]));
    }
  }
});

test("a group that is not whole", () => {
  for (const text of ["A", "AA", "AAA", "AAAAA", "AA="]) assert.equal(decoded([text]), undefined, text);
});
