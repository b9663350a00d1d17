// The same 2,000 odd requests, made of a seed, through our waypoint, Envoy, nginx and HAProxy to the same application: every difference in
// what it saw, and in what the client was answered, stands in a table with its reason.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { needs } from "../../support/needs.ts";
import { PROXIES } from "./proxies.ts";
import { findDifferences } from "./run.ts";
import { readTable, rowsOf } from "./table.ts";

describe("odd requests through four proxies", needs({ commands: ["envoy", "nginx", "haproxy"] }), () => {
  test("every difference is in the table, and the table has no other", async () => {
    const findings = await findDifferences();
    const { rows, traits } = readTable();
    const hint =
      "node test/conformance/differential/write-table.ts writes the table anew; each new row needs its reason";
    assert.deepEqual(rowsOf(findings), rows, hint);
    for (const name of PROXIES) assert.deepEqual(findings.traits[name], traits[name], hint);
  });
});

test("every difference has its reason", () => {
  const { rows, why } = readTable();
  const without = rows.map(({ oddity }) => oddity).filter((oddity) => (why[oddity] ?? "") === "");
  assert.deepEqual([...new Set(without)], []);
});
