import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, route, routeOfPaths, rule } from "./route-fixtures.ts";
import { RouteGroup } from "./route-group.ts";

function index(...paths: string[]): (path: string) => string | undefined {
  const group = new RouteGroup([routeOfPaths(...paths)]);
  return (path) => {
    const found = ask(group, `GET ${path}`);
    return found === "ROUTE_NOT_FOUND" ? undefined : found.slice("r/".length);
  };
}

test("a prefix matches whole segments, with or without its own trailing slash", () => {
  for (const prefix of ["/abc", "/abc/"]) {
    const find = index(prefix);
    for (const path of ["/abc", "/abc/", "/abc/def", "/abc//def"]) assert.equal(find(path), prefix, path);
    for (const path of ["/ab", "/abcd", "/", "/ABC", "//abc", "/x/abc"]) assert.equal(find(path), undefined, path);
  }
});

test("the root prefix matches every path and not the asterisk", () => {
  const find = index("/", "~.*");
  for (const path of ["/", "/x", "//", "/x/y/"]) assert.equal(find(path), "~.*", path);
  assert.equal(find("*"), undefined);
});

test("an exact path is compared as it is", () => {
  const find = index("=/abc");
  assert.equal(find("/abc"), "=/abc");
  for (const path of ["/abc/", "/ABC", "/abc/d"]) assert.equal(find(path), undefined, path);
});

test("a path that is written with escapes is found in its canonical form", () => {
  const group = new RouteGroup([
    route("r", [rule("user", [{ path: "=/%7Euser" }]), rule("caf", [{ path: "/caf%C3%A9" }])]),
  ]);
  assert.equal(ask(group, "GET /~user"), "r/user");
  assert.equal(ask(group, "GET /caf%C3%A9/x"), "r/caf");
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

test("a path of many slashes ends the walk at the first segment that is in no prefix", () => {
  const find = index("/a");
  assert.equal(find(`/a${"/".repeat(60_000)}`), "/a");
});

test("a regular expression matches the whole path", () => {
  const find = index("~/users/[0-9]+", "~/a|/b");
  assert.equal(find("/users/42"), "~/users/[0-9]+");
  for (const path of ["/users/", "/users/42/", "/x/users/42", "/users/4x", "/aa", "/ab"]) {
    assert.equal(find(path), undefined, path);
  }
  assert.equal(find("/b"), "~/a|/b");
});

test("a regular expression stands after exact paths, just before the prefix that it begins with", () => {
  const find = index("/", "/api", "/api/v1", "=/api/v1/x", "~/api/v[0-9]+/.*", "~.*", "~/api/.*");
  assert.equal(find("/api/v1/x"), "=/api/v1/x");
  assert.equal(find("/api/v1/y"), "/api/v1");
  assert.equal(find("/api/v2/y"), "~/api/v[0-9]+/.*", "the longer of two with one beginning");
  assert.equal(find("/api/x"), "~/api/.*");
  assert.equal(find("/api"), "/api");
  assert.equal(find("/else"), "~.*");
});

test("a regular expression ends with what is certain, and no other path is tried", () => {
  for (const [pattern, path] of [
    ["~/a/.*/x7", "/a/b/x7"],
    ["~/a\\x2fb", "/a/b"],
    ["~/a/\\pL", "/a/b"],
    ["~/a/b?", "/a/"],
    ["~/[a-c/]", "/c"],
    ["~(/a/b)", "/a/b"],
    ["~/.*\\Q/a\\E", "/x/a"],
    ["~/.*\\Q/a", "/x/a"],
    ["~/a{2}", "/aa"],
    ["~/a$", "/a"],
  ] as const) {
    assert.equal(index(pattern)(path), pattern, pattern);
  }
  assert.equal(index("~/a/.*/x7")("/a/b/x77"), undefined);
});

test("what a regular expression begins with is only what is certain", () => {
  for (const [pattern, path] of [
    ["~/a/?b", "/ab"],
    ["~/a/*b", "/ab"],
    ["~/a/{0,1}b", "/ab"],
    ["~(?i)/a/b", "/A/B"],
    ["~/a/b|/c", "/c"],
    ["~^/a/b$", "/a/b"],
    ["~/a/(?i)b", "/a/B"],
    ["~/a\\.b/c", "/a.b/c"],
    ["~(/a/b)?/c", "/c"],
    ["~\\Q/a/\\Eb", "/a/b"],
  ] as const) {
    const find = index(pattern, "/zz/yy", "=/zz");
    assert.equal(find(path), pattern, path);
  }
});
