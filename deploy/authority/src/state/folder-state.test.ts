import assert from "node:assert/strict";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { must } from "@culvert/test/support/must.ts";
import { until } from "@culvert/test/support/until.ts";
import { createAuthority } from "../ca/certificate-authority.ts";
import { DOMAIN, HOUR_MS, NOW, REVIEWS, RATINGS, serveFolder, testFolder } from "./folder-fixtures.ts";
import type { ServedFolder } from "./folder-fixtures.ts";
import { openFolderState } from "./folder-state.ts";
import { readIssued } from "./issued-log.ts";
import { revoke } from "./revoke.ts";
import { activateRoot, addRoot, removeRoot } from "./rotation.ts";

const FORCE = { now: NOW, force: true };

/** Lets looks pass until something is so. */
function seen(what: string, { clock }: ServedFolder, isSo: () => boolean): Promise<true> {
  return until(what, () => {
    clock.advance(500);
    return isSo() || undefined;
  });
}

function roots({ state }: ServedFolder): number {
  return state.trust().bundles.get(DOMAIN)?.roots.length ?? 0;
}

test("a rotation is seen step by step, and told", async (t) => {
  const folder = await testFolder(t);
  const served = await serveFolder(t, folder);
  const { state, failures } = served;
  let changes = 0;
  state.onChange(() => (changes += 1));
  const old = state.issuer();
  const { root } = must(await addRoot(folder, (domain) => createAuthority(domain, NOW), NOW));
  await seen("two roots", served, () => roots(served) === 2);
  assert.equal(state.issuer(), old, "the same object as long as nothing about it has changed");
  must(await activateRoot(folder, root.id, FORCE));
  await seen("the new issuer", served, () => state.issuer().rootId === root.id);
  const trust = state.trust();
  must(await removeRoot(folder, old.rootId, FORCE));
  await seen("one root", served, () => roots(served) === 1);
  assert(state.trust().version > trust.version);
  assert.equal(changes, 3);
  assert.deepEqual(failures, []);
});

test("what is issued is on the disk when it may be handed out, however many at once", async (t) => {
  const folder = await testFolder(t);
  const { state } = await serveFolder(t, folder);
  const { rootId } = state.issuer();
  const records = Array.from({ length: 200 }, (_, at) => ({
    id: REVIEWS,
    rootId,
    serial: `A${at}`,
    notAfter: NOW + HOUR_MS,
  }));
  const outcomes = await Promise.all(records.map((each) => state.record(each)));
  assert(outcomes.every((outcome) => outcome === undefined));
  assert.deepEqual(
    must(await readIssued(folder, NOW)).map(({ serial }) => serial),
    records.map(({ serial }) => serial),
  );
});

test("a revocation is seen, and who was revoked while it asked gets nothing", async (t) => {
  const folder = await testFolder(t);
  const served = await serveFolder(t, folder);
  const { state } = served;
  const { rootId } = state.issuer();
  const record = { id: REVIEWS, rootId, serial: "A1", notAfter: NOW + HOUR_MS };
  assert.equal(await state.record(record), undefined);
  must(await revoke(folder, { id: REVIEWS }, { reason: "unspecified", now: NOW }));
  // No look has come yet.
  const outcomes = await Promise.all([
    state.record({ ...record, serial: "B2" }),
    state.record({ ...record, id: RATINGS, serial: "C3" }),
  ]);
  assert.deepEqual(
    outcomes.map((outcome) => outcome?.code),
    ["IDENTITY_REVOKED", undefined],
  );
  await seen("the list", served, () => state.trust().crls.length === 1);
  assert.equal([...state.trust().revocations.values()].flat()[0]?.serials.has("a1"), true);
  assert.equal(
    await state.record({ ...record, serial: "D4" }),
    undefined,
    "a new certificate, by a token, is no matter",
  );
});

test("a list that another authority over the intermediate has signed counts, whoever looks first", async (t) => {
  const folder = await testFolder(t);
  const other = join(folder, "..", "other");
  await cp(folder, other, { recursive: true });
  const { state } = await serveFolder(t, folder);
  must(await revoke(other, { serial: "AA" }, { reason: "unspecified", now: NOW }));
  await mkdir(join(folder, "crls"));
  await cp(join(other, "crl.pem"), join(folder, "crls", "other.pem"));
  const record = { id: REVIEWS, rootId: state.issuer().rootId, serial: "A1", notAfter: NOW + HOUR_MS };
  assert.equal(await state.record(record), undefined);
  const [list, ...others] = [...state.trust().revocations.values()].flat();
  assert.deepEqual([[...(list?.serials ?? [])], others], [["aa"], []]);
});

test("the lists are signed again while the server runs", async (t) => {
  const folder = await testFolder(t);
  const served = await serveFolder(t, folder);
  must(await revoke(folder, { serial: "AA" }, { reason: "unspecified", now: NOW }));
  await seen("the list", served, () => served.state.trust().crls.length === 1);
  const [before] = served.state.trust().crls;
  served.clock.advance(13 * HOUR_MS);
  await seen("the next", served, () => served.state.trust().crls[0] !== before);
  assert.deepEqual(served.failures, []);
});

test("what cannot be read is told once, and what was read last stays", async (t) => {
  const folder = await testFolder(t);
  const served = await serveFolder(t, folder);
  const place = join(folder, "authority.json");
  const good = await readFile(place, "utf8");
  const issuer = served.state.issuer();
  await writeFile(place, "{");
  await seen("the failure", served, () => served.failures.length > 0);
  for (let look = 0; look < 5; look += 1) {
    served.clock.advance(500);
    await new Promise(setImmediate);
  }
  assert.equal(served.failures.length, 1);
  assert.match(served.failures[0]?.detail ?? "", /authority.json: not the index of an authority/);
  assert.equal(served.state.issuer(), issuer);
  await writeFile(place, good);
  await mkdir(join(folder, "crls"));
  await writeFile(join(folder, "crls", "x"), "x");
  await seen("the next failure", served, () => served.failures.length > 1);
  assert.match(served.failures[1]?.detail ?? "", /crls\/x: holds no revocation list/);
});

test("a folder has one server", async (t) => {
  const folder = await testFolder(t);
  const { state, clock } = await serveFolder(t, folder);
  const second = await openFolderState({ folder, clock, onFailure: () => undefined });
  assert(isFailure(second));
  assert.match(second.detail, /another server has it/);
  await state.close();
  const third = must(await openFolderState({ folder, clock, onFailure: () => undefined }));
  await third.close();
});

test("a certificate that cannot be noted is not handed out", async (t) => {
  const folder = await testFolder(t);
  const { state } = await serveFolder(t, folder);
  await mkdir(join(folder, "issued.log"));
  const record = { id: REVIEWS, rootId: state.issuer().rootId, serial: "A1", notAfter: NOW + HOUR_MS };
  const refused = await state.record(record);
  assert.equal(refused?.code, "IDENTITY_UNAVAILABLE");
  assert.match(refused?.detail ?? "", /issued.log: cannot be written \(EISDIR\)/);
  await rm(join(folder, "issued.log"), { recursive: true });
  assert.equal(await state.record(record), undefined);
});
