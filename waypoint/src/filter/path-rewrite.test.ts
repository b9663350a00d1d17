import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { canonicalRewrite, rewritePath, rewriteProblem } from "./path-rewrite.ts";

test("the table of replaced prefixes of Gateway API", () => {
  const table: readonly [path: string, prefix: string, replacement: string, result: string][] = [
    ["/foo/bar", "/foo", "/xyz", "/xyz/bar"],
    ["/foo/bar", "/foo", "/xyz/", "/xyz/bar"],
    ["/foo/bar", "/foo/", "/xyz", "/xyz/bar"],
    ["/foo/bar", "/foo/", "/xyz/", "/xyz/bar"],
    ["/foo", "/foo", "/xyz", "/xyz"],
    ["/foo/", "/foo", "/xyz", "/xyz/"],
    ["/foo/bar", "/foo", "", "/bar"],
    ["/foo/", "/foo", "", "/"],
    ["/foo", "/foo", "", "/"],
    ["/foo/", "/foo", "/", "/"],
    ["/foo", "/foo", "/", "/"],
    ["/prefix/one/two", "/prefix/one", "/one", "/one/two"],
    ["/strip-prefix/three", "/strip-prefix", "/", "/three"],
    ["/a", "/", "/b", "/b/a"],
    ["/", "/", "/b", "/b/"],
    ["/", "/", "", "/"],
  ];
  for (const [path, prefix, value, result] of table) {
    assert.equal(rewritePath(path, prefix, { kind: "prefix", value }), result, `${path} ${prefix} ${value}`);
  }
});

test("a full path takes the place of the whole", () => {
  assert.equal(rewritePath("/full/one/two", "/full/one", { kind: "full", value: "/one" }), "/one");
});

test("whatever is replaced, a path begins with a slash and keeps its rest", () => {
  const segment = fc.stringMatching(/^[a-z]{0,3}$/);
  const path = fc.array(segment).map((segments) => `/${segments.join("/")}`);
  fc.assert(
    fc.property(path, path, path, (prefix, rest, value) => {
      const whole = (prefix.endsWith("/") ? prefix.slice(0, -1) : prefix) + rest;
      const result = rewritePath(whole, prefix, { kind: "prefix", value });
      assert.ok(result.startsWith("/"));
      assert.ok(result.endsWith(rest));
    }),
  );
});

test("the written path is spelled as that of a request", () => {
  assert.equal(canonicalRewrite({ kind: "full", value: "/a/../b c/ü" }).value, "/b%20c/%C3%BC");
  assert.equal(canonicalRewrite({ kind: "full", value: "" }).value, "/");
  assert.equal(canonicalRewrite({ kind: "prefix", value: "" }).value, "");
});

test("what cannot be served is named", () => {
  assert.equal(rewriteProblem({ kind: "prefix", value: "/a" }, "/p"), undefined);
  assert.equal(rewriteProblem({ kind: "full", value: "" }, undefined), undefined);
  assert.match(rewriteProblem({ kind: "prefix", value: "/a" }, undefined) ?? "", /exactly one match/);
  assert.match(rewriteProblem({ kind: "full", value: "a" }, undefined) ?? "", /begins with \//);
  assert.match(rewriteProblem({ kind: "full", value: "/a?b" }, undefined) ?? "", /without \?/);
  assert.match(rewriteProblem({ kind: "full", value: "/a%zz" }, undefined) ?? "", /hexadecimal/);
  assert.match(rewriteProblem({ kind: "full", value: `/${"a".repeat(1024)}` }, undefined) ?? "", /1024/);
});
