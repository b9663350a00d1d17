import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import cases from "@culvert/test/conformance/cases/path.json" with { type: "json" };
import { canonicalTarget } from "./target.ts";

const HOST = { hostname: "reviews", port: 9080, text: "reviews:9080" };

function parts(method: string, target: string): Record<string, string> | string {
  const result = canonicalTarget(method, target, HOST);
  return isFailure(result) ? result.code : { ...result };
}

test("the fragment is cut, the query passes as it was sent", () => {
  for (const { raw, path, query } of cases.targets) {
    assert.deepEqual(parts("GET", raw), { method: "GET", host: "reviews:9080", path, query });
  }
});

test("the level reaches the path alone", () => {
  const result = canonicalTarget("GET", "/a//%2f..?b=//%2f", HOST, "decode-and-merge-slashes");
  assert.ok(!isFailure(result));
  assert.deepEqual([result.path, result.query], ["/a/", "?b=//%2f"]);
});

test("the asterisk belongs to OPTIONS alone", () => {
  assert.deepEqual(parts("OPTIONS", "*"), { method: "OPTIONS", host: "reviews:9080", path: "*", query: "" });
  assert.equal(parts("GET", "*"), "REQUEST_MALFORMED");
});

test("other forms and bytes that must be escaped are refused", () => {
  const forms = [...cases.refusedTargets, "reviews:9080", "http://reviews/", "x", "", "**", " /"];
  const bytes = ["/a?b c", "/a?\u0001", "/a?\u00e9", "//\u0000", "/\u00e9?", "/a?b\r\nc"];
  for (const target of [...forms, ...bytes]) assert.equal(parts("GET", target), "REQUEST_MALFORMED", target);
});
