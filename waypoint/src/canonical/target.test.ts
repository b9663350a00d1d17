import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import cases from "@culvert/test/conformance/cases/path.json" with { type: "json" };
import { canonicalTarget } from "./target.ts";

function parts(method: string, target: string, host?: string): Record<string, string> | string {
  const result = canonicalTarget(method, target, host, "reviews.default:9080");
  return isFailure(result) ? result.code : { ...result };
}

test("the fragment is cut, the query passes as it was sent", () => {
  for (const { raw, path, target } of cases.targets) {
    assert.deepEqual(parts("GET", raw, "Reviews"), { host: "reviews", hostname: "reviews", path, target });
  }
});

test("the authority of an absolute target takes the place of Host", () => {
  const expected = { host: "ratings:80", hostname: "ratings", path: "/b", target: "/b?q" };
  assert.deepEqual(parts("GET", "HTTP://Ratings:80/a/../b?q", "reviews"), expected);
  assert.deepEqual(parts("GET", "http://ratings", "reviews"), {
    host: "ratings",
    hostname: "ratings",
    path: "/",
    target: "/",
  });
  assert.deepEqual(parts("GET", "http://ratings?q#f", "reviews"), {
    host: "ratings",
    hostname: "ratings",
    path: "/",
    target: "/?q",
  });
  assert.deepEqual(parts("GET", "http://ratings\\admin"), {
    host: "ratings",
    hostname: "ratings",
    path: "/admin",
    target: "/admin",
  });
});

test("the asterisk belongs to OPTIONS alone", () => {
  assert.deepEqual(parts("OPTIONS", "*", "reviews"), { host: "reviews", hostname: "reviews", path: "*", target: "*" });
  assert.equal(parts("GET", "*", "reviews"), "REQUEST_MALFORMED");
});

test("a request without Host is for the authority of its tunnel", () => {
  assert.deepEqual(parts("GET", "/"), {
    host: "reviews.default:9080",
    hostname: "reviews.default",
    path: "/",
    target: "/",
  });
});

test("other forms, userinfo and bytes that must be escaped are refused", () => {
  const bad = [
    "reviews:9080",
    "https://reviews/",
    "ftp://reviews/",
    "x",
    "",
    "http://u@reviews/",
    "/a?b c",
    "/a?\u0001",
  ];
  for (const target of [...bad, "/a?\u00e9", "http:///x", "//\u0000"]) {
    assert.equal(parts("GET", target, "reviews"), "REQUEST_MALFORMED", target);
  }
});
