import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import cases from "@culvert/test/conformance/cases/path.json" with { type: "json" };
import * as fc from "fast-check";
import { normalizePath } from "./path.ts";

test("every vector has its one spelling", () => {
  for (const { raw, path } of cases.normalized) assert.equal(normalizePath(raw), path, raw);
});

test("ambiguous paths are refused", () => {
  for (const raw of cases.refused) {
    const result = normalizePath(raw);
    assert.ok(isFailure(result) && result.code === "REQUEST_MALFORMED", raw);
  }
});

test("of the escapes only unreserved characters are decoded, and none twice", () => {
  for (let byte = 1; byte < 256; byte++) {
    const escape = `%${byte.toString(16).padStart(2, "0")}`;
    const character = String.fromCharCode(byte);
    const expected = /[A-Za-z0-9._~-]/.test(character) ? character : escape;
    assert.equal(normalizePath(`/admin${escape}`), `/admin${expected}`);
    assert.equal(
      normalizePath(`/admin${escape.toUpperCase()}`).toString().toLowerCase(),
      `/admin${expected}`.toLowerCase(),
    );
  }
});

test("normalizing is idempotent and leaves neither dot segments nor backslashes", () => {
  const piece = fc.constantFrom(
    "/",
    "\\",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "%5c",
    "%25",
    "2e",
    "a",
    "%41",
    ";",
    "~",
    "//",
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
      const once = normalizePath(`/${pieces.join("")}`);
      assert.ok(!isFailure(once));
      assert.equal(normalizePath(once), once);
      assert.ok(!once.includes("\\"));
      assert.ok(!once.split("/").some((segment) => segment === "." || segment === ".."));
    }),
  );
});
