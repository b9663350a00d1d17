import assert from "node:assert/strict";
import { appendFile, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { must } from "@culvert/test/support/must.ts";
import { HOUR_MS, NOW, REVIEWS } from "./folder-fixtures.ts";
import { appendIssued, compactIssued, readIssued } from "./issued-log.ts";
import type { IssuedEntry } from "./issued-log.ts";

async function emptyFolder(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "culvert-issued-"));
  context.after(() => rm(folder, { recursive: true }));
  return folder;
}

function entry(serial: string, notAfter = NOW + HOUR_MS): IssuedEntry {
  return { serial, rootId: "0123456789abcdef", issuedAt: NOW, notAfter, id: REVIEWS };
}

test("what was appended is read until it expires", async (t) => {
  const folder = await emptyFolder(t);
  assert.deepEqual(must(await readIssued(folder, NOW)), []);
  assert.equal(await appendIssued(folder, [entry("A1"), entry("B2", NOW + 1)]), undefined);
  assert.equal(await appendIssued(folder, [entry("C3")]), undefined);
  assert.deepEqual(must(await readIssued(folder, NOW)), [entry("A1"), entry("B2", NOW + 1), entry("C3")]);
  assert.deepEqual(must(await readIssued(folder, NOW + 1)), [entry("A1"), entry("C3")]);
  assert.equal((await stat(join(folder, "issued.log"))).mode & 0o777, 0o600);
});

test("half a line, as of a writer that was killed, costs nobody else theirs", async (t) => {
  const folder = await emptyFolder(t);
  await appendIssued(folder, [entry("A1")]);
  await appendFile(join(folder, "issued.log"), "DEAD 0123456789abcdef 18");
  assert.equal(await appendIssued(folder, [entry("B2")]), undefined);
  assert.deepEqual(must(await readIssued(folder, NOW)), [entry("A1"), entry("B2")]);
});

test("what has expired is dropped once it is the most", async (t) => {
  const folder = await emptyFolder(t);
  const old = Array.from({ length: 20 }, (_, at) => entry(`A${at}`, NOW + 1));
  await appendIssued(folder, [...old, entry("B2")]);
  const before = await readFile(join(folder, "issued.log"), "utf8");
  assert.equal(await compactIssued(folder, NOW), undefined);
  assert.equal(await readFile(join(folder, "issued.log"), "utf8"), before);
  assert.equal(await compactIssued(folder, NOW + 1), undefined);
  assert.equal((await readFile(join(folder, "issued.log"), "utf8")).split("\n").length, 2);
  assert.deepEqual(must(await readIssued(folder, NOW + 1)), [entry("B2")]);
});

test("ten thousand identities are little more than a megabyte", async (t) => {
  const folder = await emptyFolder(t);
  const entries = Array.from({ length: 10_000 }, (_, at) => ({
    ...entry((0xf000_0000_0000 + at).toString(16).padStart(32, "F").toUpperCase()),
    id: `spiffe://cluster.local/ns/some-namespace/sa/service-account-${at}`,
  }));
  assert.equal(await appendIssued(folder, entries), undefined);
  const { size } = await stat(join(folder, "issued.log"));
  t.diagnostic(`${size} bytes for 10,000 certificates`);
  assert(size < 1_500_000);
  assert.equal(must(await readIssued(folder, NOW)).length, 10_000);
});
