import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { PathIndex, type PathMatch } from "./path-index.ts";

function index(...matches: string[]): (path: string) => string | undefined {
  const paths = new PathIndex<string>();
  for (const text of matches)
    paths.add({ kind: text.startsWith("=") ? "exact" : "prefix", value: text.replace(/^=/, "") }, text);
  return (path) => paths.find(path, undefined, () => true);
}

test("a prefix matches whole segments, with or without its own trailing slash", () => {
  for (const prefix of ["/abc", "/abc/"]) {
    const find = index(prefix);
    for (const path of ["/abc", "/abc/", "/abc/def", "/abc//def"]) assert.equal(find(path), prefix, path);
    for (const path of ["/ab", "/abcd", "/", "/ABC", "//abc", "/x/abc"]) assert.equal(find(path), undefined, path);
  }
});

test("the root prefix matches every path and not the asterisk", () => {
  const find = index("/");
  for (const path of ["/", "/x", "//", "/x/y/"]) assert.equal(find(path), "/", path);
  assert.equal(find("*"), undefined);
});

test("an exact path is compared as it is", () => {
  const find = index("=/abc");
  assert.equal(find("/abc"), "=/abc");
  for (const path of ["/abc/", "/ABC", "/abc/d"]) assert.equal(find(path), undefined, path);
});

test("exact goes before prefix, the longer prefix before the shorter", () => {
  const find = index("/", "/a", "/a/b", "=/a/b", "=/a/b/c", "/a/b/c");
  assert.equal(find("/a/b"), "=/a/b");
  assert.equal(find("/a/b/"), "/a/b");
  assert.equal(find("/a/b/c"), "=/a/b/c");
  assert.equal(find("/a/b/c/d"), "/a/b/c");
  assert.equal(find("/a/x"), "/a");
  assert.equal(find("/x"), "/");
});

test("an entry that is not accepted gives way to the next in order", () => {
  const paths = new PathIndex<string>();
  paths.add({ kind: "prefix", value: "/" }, "root");
  paths.add({ kind: "prefix", value: "/a" }, "first");
  paths.add({ kind: "prefix", value: "/a/" }, "second");
  paths.add({ kind: "exact", value: "/a" }, "exact");
  const seen: string[] = [];
  paths.find("/a", seen, (entry, order) => order.push(entry) < 0);
  assert.deepEqual(seen, ["exact", "first", "second", "root"]);
});

test("a path of many slashes ends the walk at the first segment that is in no prefix", () => {
  const find = index("/a");
  assert.equal(find(`/a${"/".repeat(60_000)}`), "/a");
});

function rank(match: PathMatch): number {
  if (match.kind === "exact") return 1_000;
  return match.value === "/" ? 0 : match.value.length;
}

test("it finds what a linear scan finds", () => {
  const segment = fc.constantFrom("a", "b", "ab", "");
  const path = fc.array(segment, { maxLength: 5 }).map((segments) => `/${segments.join("/")}`);
  const value = fc.array(fc.constantFrom("a", "b", "ab"), { maxLength: 4 }).map((segments) => `/${segments.join("/")}`);
  const match: fc.Arbitrary<PathMatch> = fc.record({ kind: fc.constantFrom("exact", "prefix"), value });
  fc.assert(
    fc.property(fc.array(match, { maxLength: 12 }), path, (matches, requested) => {
      const paths = new PathIndex<PathMatch>();
      for (const each of matches) paths.add(each, each);
      const fits = (each: PathMatch): boolean =>
        each.kind === "exact"
          ? requested === each.value
          : each.value === "/" || requested === each.value || requested.startsWith(`${each.value}/`);
      const expected = matches.filter(fits).toSorted((a, b) => rank(b) - rank(a))[0];
      assert.equal(
        paths.find(requested, undefined, () => true),
        expected,
      );
    }),
  );
});
