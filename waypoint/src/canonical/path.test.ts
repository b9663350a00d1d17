import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import cases from "@culvert/test/conformance/cases/path.json" with { type: "json" };
import { pathCases } from "@culvert/test/conformance/cases/path-cases.ts";
import * as fc from "fast-check";
import { normalizePath } from "./path.ts";

const LEVELS = ["none", "base", "merge-slashes", "decode-and-merge-slashes"] as const;

test("every vector has its one spelling at each level", () => {
  for (const level of LEVELS) {
    for (const { raw, path } of pathCases(level)) assert.equal(normalizePath(raw, level), path, `${raw} at ${level}`);
  }
});

test("ambiguous paths are refused at every level", () => {
  for (const raw of cases.refused) {
    for (const level of LEVELS) {
      const result = normalizePath(raw, level);
      assert.ok(isFailure(result) && result.code === "REQUEST_MALFORMED", raw);
    }
  }
});

test("of the escapes only unreserved characters, and at the last level slashes, are decoded, and none twice", () => {
  for (let byte = 1; byte < 256; byte++) {
    for (const hex of [byte.toString(16).padStart(2, "0"), byte.toString(16).padStart(2, "0").toUpperCase()]) {
      const character = String.fromCharCode(byte);
      const expected = /[A-Za-z0-9._~-]/.test(character) ? character : `%${hex}`;
      assert.equal(normalizePath(`/admin%${hex}`), `/admin${expected}`);
      assert.equal(normalizePath(`/admin%${hex}`, "merge-slashes"), `/admin${expected}`);
      const decoded = character === "/" || character === "\\" ? "/" : expected;
      assert.equal(normalizePath(`/admin%${hex}`, "decode-and-merge-slashes"), `/admin${decoded}`);
      assert.equal(normalizePath(`/admin%${hex}`, "none"), `/admin%${hex}`);
    }
  }
});

test("normalizing is idempotent and leaves nothing of what its level takes away", () => {
  const piece = fc.constantFrom(..."/ \\ . .. %2e %2E %2f %2F %5c %5C %25 2e 2f a %41 ; ~ // %c0%2e %ff".split(" "));
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), fc.constantFrom(...LEVELS), (pieces, level) => {
      const once = normalizePath(`/${pieces.join("")}`, level);
      assert.ok(!isFailure(once));
      assert.equal(normalizePath(once, level), once);
      if (level === "none") return;
      assert.ok(!once.includes("\\"));
      assert.ok(!once.split("/").some((segment) => segment === "." || segment === ".."));
      if (level !== "base") assert.ok(!once.includes("//"));
      if (level === "decode-and-merge-slashes") assert.doesNotMatch(once, /%(2f|5c)/i);
    }),
  );
});
