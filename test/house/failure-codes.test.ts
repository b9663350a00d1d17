// House rules about failure codes: the documentation, the metric and the table say the same, and no code is dead.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FAILURES } from "@culvert/shared/failure/failure.ts";
import { ADVICE } from "../docs/failures-page.ts";
import { productSources, ROOT } from "./sources.ts";

const CODES = Object.keys(FAILURES);

test("docs/failures.md lists every code, once, in the order of the table", () => {
  const page = readFileSync(join(ROOT, "docs/failures.md"), "utf8");
  const listed = [...page.matchAll(/^\| `([A-Z_]+)` \|/gm)].map((row) => row[1]);
  assert.deepEqual(listed, CODES);
  assert.deepEqual(Object.keys(ADVICE).toSorted(), CODES.toSorted());
});

test("codes are upper snake case and their texts fit into a sentence", () => {
  for (const [code, { text, tunnelStatus, httpStatus }] of Object.entries(FAILURES)) {
    assert.match(code, /^[A-Z]+(_[A-Z]+)*$/);
    assert.doesNotMatch(text, /[.|\n]$|\|/, code);
    for (const status of [tunnelStatus, httpStatus]) assert(status >= 400 && status < 600, code);
  }
});

test("every code is made somewhere", () => {
  const text = productSources()
    .filter(({ path }) => path !== "shared/src/failure/failure.ts")
    .map((source) => source.text)
    .join("\n");
  assert.deepEqual(
    CODES.filter((code) => !text.includes(`"${code}"`)),
    [],
  );
});
