import assert from "node:assert/strict";
import { cp, mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { must } from "@culvert/test/support/must.ts";
import { readRoots, tidyFolder } from "./authority-folder.ts";
import { testFolder } from "./folder-fixtures.ts";

test("a folder of the earlier form is read, and becomes one of today's", async (t) => {
  const folder = await testFolder(t);
  const { signing } = must(await readRoots(folder));
  await cp(join(folder, "roots", signing.id), folder, { recursive: true });
  await rm(join(folder, "authority.json"));
  await rm(join(folder, "roots"), { recursive: true });
  assert.equal(must(await readRoots(folder)).signing.id, signing.id);
  const tidied = must(await tidyFolder(folder));
  assert.deepEqual(tidied.signing.authority, signing.authority);
  assert.deepEqual((await readdir(folder)).toSorted(), ["authority.json", "root.pem", "roots"]);
  assert.deepEqual(must(await readRoots(folder)).signing.authority, signing.authority);
});

test("what killed writers have left is removed, what they had not finished is finished", async (t) => {
  const folder = await testFolder(t);
  const { signing } = must(await readRoots(folder));
  await writeFile(join(folder, ".authority.json.0123456789ab"), "{");
  await mkdir(join(folder, "roots", ".0123456789abcdef.0123456789ab"));
  // Keys that have been copied and not yet removed, and a bundle of before.
  await writeFile(join(folder, "root-key.pem"), "old");
  const bundle = await readFile(join(folder, "root.pem"), "utf8");
  await writeFile(join(folder, "root.pem"), "old");
  must(await tidyFolder(folder));
  assert.deepEqual((await readdir(folder)).toSorted(), ["authority.json", "root.pem", "roots"]);
  assert.deepEqual(await readdir(join(folder, "roots")), [signing.id]);
  assert.equal(await readFile(join(folder, "root.pem"), "utf8"), bundle);
});

test("an index that is none, or names what is not there, is refused", async (t) => {
  const folder = await testFolder(t);
  const place = join(folder, "authority.json");
  const good = JSON.parse(await readFile(place, "utf8")) as Record<string, unknown>;
  const wrong: readonly [unknown, RegExp][] = [
    ["", /not the index of an authority/],
    [null, /not the index of an authority/],
    [{ ...good, trustDomain: "Ours" }, /not the index of an authority/],
    [{ ...good, roots: [] }, /not the index of an authority/],
    [{ ...good, roots: [{ id: "../../etc", addedAt: 0 }] }, /not the index of an authority/],
    [{ ...good, roots: Array.from({ length: 9 }, () => ({ id: "0".repeat(16), addedAt: 0 })) }, /not the index/],
    [{ ...good, signing: "0".repeat(16) }, /its signing root is not among its roots/],
    [{ ...good, roots: [{ id: "0".repeat(16), addedAt: 0 }] }, /root.pem: cannot be read \(ENOENT\)/],
  ];
  for (const [content, line] of wrong) {
    await writeFile(place, JSON.stringify(content));
    const roots = await readRoots(folder);
    assert(isFailure(roots));
    assert.match(roots.detail, line);
  }
});
