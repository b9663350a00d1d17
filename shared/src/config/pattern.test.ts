import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../failure/failure.ts";
import { compilePattern, type Pattern } from "./pattern.ts";

function compiled(text: string): Pattern {
  const pattern = compilePattern(text);
  assert.ok(!isFailure(pattern), text);
  return pattern;
}

function refusal(text: string): string {
  const failure = compilePattern(text);
  return isFailure(failure) ? failure.detail : "compiled";
}

test("the whole of a value is compared", () => {
  for (const [pattern, matching, other] of [
    ["a|bc", "bc", "abc"],
    ["(?i)abc", "aBC", "abcd"],
    ["", "", "a"],
    ["^a$", "a", "aa"],
    ["a.c", "a\u00fcc", "a\nc"],
    ["\\pL+", "\u00fcber", "1"],
  ] as const) {
    assert.equal(compiled(pattern).matches(matching), true, pattern);
    assert.equal(compiled(pattern).matches(other), false, pattern);
  }
});

test("RE2's syntax and nothing beside it", () => {
  for (const text of ["(", "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "\\1", "[z-a]", "a**", "a{1001}", "(?P>n)", "\\C"]) {
    assert.match(refusal(text), /^the regular expression "/, text);
  }
  assert.match(refusal("("), /missing closing \)/);
});

test("long expressions, and short ones that become long, are refused", () => {
  assert.match(refusal("a".repeat(4097)), /has 4097 characters, at most 4096/);
  assert.match(refusal("((a?){30}){33}"), /instructions, at most 1000/);
  assert.equal(refusal("a{900}"), "compiled");
});

test("a value that is too long for its expression is not looked at", () => {
  const pattern = compiled("(a|b)*c");
  assert.equal(pattern.matches("a".repeat(pattern.longestInput)), false);
  assert.equal(pattern.matches("a".repeat(pattern.longestInput + 1)), undefined);
  assert.ok(pattern.longestInput > 32 * 1024, "a small expression may look at any head");
});

test("expressions that stall a backtracking engine do not stall this one", () => {
  for (const text of ["(a+)+", "(a|aa)*b", "(.*a){12}x", "(a?){25}a{25}"]) {
    const pattern = compiled(text);
    const input = "a".repeat(Math.min(4096, pattern.longestInput));
    const start = performance.now();
    pattern.matches(`${input.slice(1)}!`);
    assert.ok(performance.now() - start < 1_000, text);
  }
});
