import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { must, refusal } from "@culvert/test/support/must.ts";
import { createAuthority, renewIntermediate } from "../ca/certificate-authority.ts";
import { MAX_ROOTS, readRoots } from "./authority-folder.ts";
import type { Root } from "./authority-folder.ts";
import { HOUR_MS, NOW, REVIEWS, testFolder } from "./folder-fixtures.ts";
import { appendIssued } from "./issued-log.ts";
import { activateRoot, addRoot, removeRoot } from "./rotation.ts";

const GENTLY = { now: NOW, force: false };

async function addOne(folder: string, now = NOW): Promise<Root> {
  const added = must(await addRoot(folder, (domain) => createAuthority(domain, now), now));
  assert(added.isNew);
  return added.root;
}

async function issue(folder: string, rootId: string, issuedAt: number): Promise<void> {
  const entry = { serial: "ABC1", rootId, issuedAt, notAfter: issuedAt + HOUR_MS, id: REVIEWS };
  assert.equal(await appendIssued(folder, [entry]), undefined);
}

async function rotated(context: TestContext): Promise<{ folder: string; old: Root; fresh: Root }> {
  const folder = await testFolder(context);
  const old = must(await readRoots(folder)).signing;
  return { folder, old, fresh: await addOne(folder) };
}

test("add, activate, remove: each step is one state of the folder", async (t) => {
  const { folder, old, fresh } = await rotated(t);
  const added = must(await readRoots(folder));
  assert.deepEqual([added.signing.id, added.all.map(({ id }) => id)], [old.id, [old.id, fresh.id]]);
  const bundle = await readFile(join(folder, "root.pem"), "utf8");
  for (const { authority } of added.all) assert(bundle.includes(authority.root.certificatePem.trim()));
  must(await activateRoot(folder, fresh.id.slice(0, 6), GENTLY));
  assert.equal(must(await readRoots(folder)).signing.id, fresh.id);
  must(await removeRoot(folder, old.id, GENTLY));
  assert.deepEqual(
    must(await readRoots(folder)).all.map(({ id }) => id),
    [fresh.id],
  );
  assert.deepEqual(await readdir(join(folder, "roots")), [fresh.id], "the old keys are gone");
  assert.equal((await readFile(join(folder, "root.pem"), "utf8")).includes(old.authority.root.certificatePem), false);
});

test("a step that would break what is in use says so, and is done by force", async (t) => {
  const { folder, old, fresh } = await rotated(t);
  await issue(folder, old.id, NOW - 1_000);
  const early = await activateRoot(folder, fresh.id, GENTLY);
  assert(isFailure(early));
  assert.match(early.detail, /^a certificate that is alive until 2027-.* was issued before [0-9a-f]{16} was trusted/);
  must(await activateRoot(folder, fresh.id, { now: NOW + HOUR_MS, force: false }));
  await issue(folder, old.id, NOW);
  const orphaning = await removeRoot(folder, old.id, GENTLY);
  assert(isFailure(orphaning));
  assert.match(orphaning.detail, /were signed by .* would be refused from now on; wait, or use --force/);
  must(await removeRoot(folder, old.id, { now: NOW, force: true }));
});

test("the root that signs stays, by force too, and what is not there cannot be meant", async (t) => {
  const { folder, old, fresh } = await rotated(t);
  for (const force of [false, true]) {
    const kept = await removeRoot(folder, old.id, { now: NOW, force });
    assert(isFailure(kept));
    assert.match(kept.detail, /signs; activate another one first/);
  }
  for (const id of ["", "abc", "0000000000000000"]) {
    const unknown = await activateRoot(folder, id, { now: NOW, force: true });
    assert(isFailure(unknown));
    assert.match(unknown.detail, new RegExp(`there is no root ${id}; there are ${old.id}, ${fresh.id}`));
  }
  assert.match(refusal(await activateRoot(folder, old.id, GENTLY)), /signs already/);
  assert.match(refusal(await activateRoot(folder, fresh.id, { now: NOW * 2, force: true })), /outside its validity/);
});

test("what is there already is renewed, and there is a limit", async (t) => {
  const { folder, fresh } = await rotated(t);
  const later = NOW + 300 * 24 * HOUR_MS;
  const renewed = await renewIntermediate(fresh.authority, later);
  const again = must(await addRoot(folder, async () => renewed, later));
  assert.deepEqual([again.isNew, again.root.id], [false, fresh.id]);
  assert.equal(
    must(await readRoots(folder)).all[1]?.authority.intermediate.certificatePem.trim(),
    renewed.intermediate.certificatePem.trim(),
  );
  for (let count = 2; count < MAX_ROOTS; count += 1) await addOne(folder);
  assert.match(refusal(await addRoot(folder, (domain) => createAuthority(domain, NOW), NOW)), /has 8 roots already/);
});
