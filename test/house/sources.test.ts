// What the house rules look at: code, and neither comments nor the insides of strings.
import assert from "node:assert/strict";
import { test } from "node:test";
import { codeOf } from "./sources.ts";

for (const [what, text, code] of [
  ["code behind a string", `f("a b", g());`, `f("   ", g());`],
  ["code between strings", `f('a', g("b"), "c");`, `f(' ', g(" "), " ");`],
  ["a quote in a string", `f("a\\"b", g('"'));`, `f("    ", g(' '));`],
  ["braces in strings", `f("{", { a: "}" });`, `f(" ", { a: " " });`],
  ["an empty string", `f("", g());`, `f("", g());`],
  ["the end of a line", `f("a");\ng();`, `f(" ");\ng();`],
  ["a comment behind code", `f("a"); // g()`, `f(" ");       `],
  ["a comment over lines", `/* f()\n */ g();`, `      \n    g();`],
  ["what looks like a comment", `f("//", g());`, `f("  ", g());`],
  ["a regular expression", `f(/"[/]/, g());`, `f(/    /, g());`],
  ["a template", 'f(`a ${g("b")} c`, h());', 'f(`  ${g(" ")}  , h());'],
  ["a template in a template", "f(`a ${g(`b ${h()}`)}`, i());", "f(`  ${g(`  ${h()})}, i());"],
] as const) {
  test(`${what} is told apart`, () => {
    assert.equal(codeOf(text), code);
  });
}
