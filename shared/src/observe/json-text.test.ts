import assert from "node:assert/strict";
import { it } from "node:test";
import { isPlain, jsonText, MAX_FIELD_BYTES } from "./json-text.ts";

const ROWS: readonly [string, string, string][] = [
  ["plain", "GET /reviews/1?a=b", '"GET /reviews/1?a=b"'],
  ["empty", "", '""'],
  ["quote and backslash", 'a"b\\c', '"a\\"b\\\\c"'],
  ["newline, return, tab", "a\nb\rc\td", '"a\\nb\\rc\\td"'],
  ["escape sequence of a terminal", "\u001b[31mred", '"\\u001b[31mred"'],
  ["C1 control", "a\u009bb\u0085", '"a\\u009bb\\u0085"'],
  ["DEL", "a\u007f", '"a\\u007f"'],
  ["line and paragraph separators", "a\u2028b\u2029c", '"a\\u2028b\\u2029c"'],
  ["bidirectional override", "a\u202eb\u2066c", '"a\\u202eb\\u2066c"'],
  ["byte-order mark and zero-width space", "\ufeffa\u200b", '"\\ufeffa\\u200b"'],
  ["lone surrogate", "a\ud800b", '"a\\ud800b"'],
  ["letters of other scripts stay", "größe 漢字 😀", '"größe 漢字 😀"'],
];

for (const [name, text, expected] of ROWS) {
  it(name, () => {
    assert.equal(jsonText(text), expected);
    assert.equal(JSON.parse(expected), text.toWellFormed() === text ? text : JSON.parse(expected));
  });
}

it("cuts by bytes, marks the cut, and never through a character", () => {
  assert.equal(JSON.parse(jsonText("a".repeat(256))), "a".repeat(256));
  assert.equal(JSON.parse(jsonText("a".repeat(257))), `${"a".repeat(253)}…`);
  for (const character of ["é", "漢", "😀"]) {
    const cut: unknown = JSON.parse(jsonText(character.repeat(1000)));
    assert(typeof cut === "string");
    assert.match(cut, new RegExp(`^(${character})+…$`, "u"));
    assert(Buffer.byteLength(cut) <= MAX_FIELD_BYTES);
  }
});

it("does bounded work on an endless field", () => {
  const text = jsonText("\n".repeat(10_000_000));
  assert(text.length < 600);
});

it("knows what needs no escape", () => {
  assert(isPlain("spiffe://cluster.local/ns/default/sa/a ~!#[]^_`{|}"));
  assert(!isPlain('"') && !isPlain("\\") && !isPlain("é") && !isPlain("\u007f") && !isPlain("a".repeat(257)));
});
