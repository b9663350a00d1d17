import assert from "node:assert/strict";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { must, refusal } from "@culvert/test/support/must.ts";
import { createAuthority } from "../ca/certificate-authority.ts";
import { readRoots } from "./authority-folder.ts";
import { HOUR_MS, NOW, RATINGS, REVIEWS, testFolder } from "./folder-fixtures.ts";
import { appendIssued } from "./issued-log.ts";
import { normalSerial, readLists, readRevoked, refreshRevocations } from "./revocation-store.ts";
import { revoke } from "./revoke.ts";
import { addRoot } from "./rotation.ts";

const DAY_MS = 24 * HOUR_MS;
const BECAUSE = { reason: "keyCompromise", now: NOW } as const;

async function issue(folder: string, serial: string, id = REVIEWS, notAfter = NOW + HOUR_MS): Promise<void> {
  const { signing } = must(await readRoots(folder));
  assert.equal(await appendIssued(folder, [{ serial, rootId: signing.id, issuedAt: NOW, notAfter, id }]), undefined);
}

/** The serial numbers on each list of a folder, and the lists' numbers. */
async function listed(folder: string): Promise<readonly [number: number, serials: readonly string[]][]> {
  const { lists, problem } = await readLists(folder, must(await readRoots(folder)));
  assert.equal(problem, undefined);
  return lists.map(({ list }) => [Number(list.number), [...list.serials]]);
}

test("all living certificates of an identity are revoked, once, and no others", async (t) => {
  const folder = await testFolder(t);
  await issue(folder, "0A1");
  await issue(folder, "B2");
  await issue(folder, "C3", RATINGS);
  await issue(folder, "D4", REVIEWS, NOW - 1);
  assert.deepEqual(must(await revoke(folder, { id: REVIEWS }, BECAUSE)), ["A1", "B2"]);
  assert.deepEqual(
    (await listed(folder)).map(([, serials]) => serials),
    [["a1", "b2"]],
  );
  const [number = 0] = (await listed(folder))[0] ?? [];
  assert.deepEqual(must(await revoke(folder, { id: REVIEWS }, BECAUSE)), []);
  assert.equal((await listed(folder))[0]?.[0], number, "nothing changed, so nothing is signed");
  assert.deepEqual(must(await revoke(folder, { serial: "c3" }, BECAUSE)), ["C3"]);
  assert.deepEqual(
    (await listed(folder)).map(([, serials]) => serials),
    [["a1", "b2", "c3"]],
  );
  assert((await listed(folder))[0]?.[0] ?? 0 > number, "the number grows");
  const record = must(await readRevoked(folder));
  assert.deepEqual(record?.revoked[0], {
    serial: "A1",
    rootId: must(await readRoots(folder)).signing.id,
    id: REVIEWS,
    notAfter: NOW + HOUR_MS,
    revokedAt: NOW,
    reason: "keyCompromise",
  });
});

test("an identity without certificates is told apart, a serial number that is unknown is revoked everywhere", async (t) => {
  const folder = await testFolder(t);
  const none = await revoke(folder, { id: REVIEWS }, BECAUSE);
  assert(isFailure(none));
  assert.match(none.detail, /no certificate of spiffe:.* that was issued here is alive/);
  must(await addRoot(folder, (domain) => createAuthority(domain, NOW), NOW));
  must(await revoke(folder, { serial: "FE:ED" }, BECAUSE));
  assert.deepEqual(
    (await listed(folder)).map(([, serials]) => serials),
    [["feed"], ["feed"]],
  );
});

test("lists are signed again in time, with what has expired left out, and again after a halt in between", async (t) => {
  const folder = await testFolder(t);
  await issue(folder, "A1");
  must(await revoke(folder, { id: REVIEWS }, BECAUSE));
  const roots = must(await readRoots(folder));
  assert.equal(must(await refreshRevocations(folder, roots, NOW + HOUR_MS / 2)), false);
  assert.equal(must(await refreshRevocations(folder, roots, NOW + 2 * HOUR_MS)), true);
  assert.deepEqual(
    (await listed(folder)).map(([, serials]) => serials),
    [[]],
  );
  assert.equal(must(await refreshRevocations(folder, roots, NOW + 3 * HOUR_MS)), false);
  assert.equal(must(await refreshRevocations(folder, roots, NOW + DAY_MS)), true);
  // As of a process that was killed after the record and before the lists.
  const record = join(folder, "revoked.json");
  await writeFile(record, (await readFile(record, "utf8")).replace(/"number":\d+/, '"number":9999999999'));
  assert.equal(must(await refreshRevocations(folder, roots, NOW + DAY_MS)), true);
  assert.equal((await listed(folder))[0]?.[0], 10_000_000_000);
  await rm(join(folder, "crl.pem"));
  assert.equal(must(await refreshRevocations(folder, roots, NOW + DAY_MS)), true);
  await writeFile(join(folder, "crl.pem"), "spoilt");
  assert.equal(must(await refreshRevocations(folder, roots, NOW + DAY_MS)), true);
});

test("two authorities over one intermediate take each other's lists, and come to an end with it", async (t) => {
  const one = await testFolder(t);
  const two = join(dirname(one), "two");
  await cp(one, two, { recursive: true });
  await issue(one, "A1");
  must(await revoke(one, { id: REVIEWS }, BECAUSE));
  must(await revoke(two, { serial: "B2" }, BECAUSE));
  const exchange = async (now: number): Promise<void> => {
    for (const [from, to] of [
      [one, two],
      [two, one],
    ] as const) {
      await mkdir(join(to, "crls"), { recursive: true });
      await cp(join(from, "crl.pem"), join(to, "crls", "other.pem"));
      must(await refreshRevocations(to, must(await readRoots(to)), now));
    }
  };
  await exchange(NOW);
  for (const folder of [one, two]) {
    const [[, serials], ...others] = (await listed(folder)) as [[number, string[]]];
    assert.deepEqual([serials.toSorted(), others], [["a1", "b2"], []], "one list, with what both have revoked");
  }
  await exchange(NOW + 91 * DAY_MS);
  await exchange(NOW + 92 * DAY_MS);
  for (const folder of [one, two])
    assert.deepEqual(
      (await listed(folder)).map(([, serials]) => serials),
      [[]],
    );
});

test("a list that others have signed is passed on as it is, and a file that is none is told and skipped", async (t) => {
  const folder = await testFolder(t);
  const other = await testFolder(t);
  must(await revoke(other, { serial: "EE" }, BECAUSE));
  await mkdir(join(folder, "crls"));
  await cp(join(other, "crl.pem"), join(folder, "crls", "other.pem"));
  assert.deepEqual(
    (await listed(folder)).map(([, serials]) => serials),
    [["ee"]],
  );
  await writeFile(join(folder, "crls", "note.txt"), "no list");
  const { lists, problem } = await readLists(folder, must(await readRoots(folder)));
  assert.equal(lists.length, 1);
  assert.match(problem?.detail ?? "", /crls\/note.txt: holds no revocation list/);
  must(await revoke(folder, { serial: "AA" }, BECAUSE));
});

test("a record that is none is refused, and nothing is revoked over it", async (t) => {
  const folder = await testFolder(t);
  for (const wrong of ["", "{}", '{"number":1,"revoked":[{"serial":"A1"}]}', '{"number":1.5,"revoked":[]}']) {
    await writeFile(join(folder, "revoked.json"), wrong);
    assert.match(refusal(await revoke(folder, { serial: "A1" }, BECAUSE)), /revoked.json: not the record/);
  }
});

test("serial numbers are compared without case, colons and leading zeros", () => {
  assert.deepEqual(["0a:1B", "00", "", "xyz", "A".repeat(41)].map(normalSerial), [
    "A1B",
    "0",
    undefined,
    undefined,
    undefined,
  ]);
});
