import assert from "node:assert/strict";
import { it } from "node:test";
import { connectionIds } from "./ids.ts";

it("gives ids that differ, within a maker and between makers, and need no escape", () => {
  const one = connectionIds();
  const other = connectionIds();
  const ids = new Set([one(), one(), other(), other()]);
  assert.equal(ids.size, 4);
  for (const id of ids) assert.match(id, /^[A-Za-z0-9_-]{20,40}$/);
});
