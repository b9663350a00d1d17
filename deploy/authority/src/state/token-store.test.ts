import assert from "node:assert/strict";
import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { must } from "@culvert/test/support/must.ts";
import { formatJoinToken, parseJoinToken } from "../proof/join-token.ts";
import type { JoinToken } from "../proof/join-token.ts";
import { TokenStore } from "./token-store.ts";

const NOW = 1_700_000_000_000;
const HOUR_MS = 3_600_000;
const folders: string[] = [];
let folder = "";
let store = new TokenStore("");

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "culvert-tokens-"));
  folders.push(folder);
  store = new TokenStore(folder);
});
after(async () => {
  for (const each of folders) await rm(each, { recursive: true });
});

async function create(uses: number | undefined, expiresAt = NOW + HOUR_MS): Promise<JoinToken> {
  return must(await store.create({ namespace: "n", serviceAccount: "a", createdAt: NOW, expiresAt, uses }));
}

test("a token is kept as a hash, for its owner's eyes only", async () => {
  const token = await create(1);
  const tokens = join(folder, "tokens");
  const file = join(tokens, `${token.id}.json`);
  assert.deepEqual(await readdir(tokens), [`${token.id}.json`]);
  assert.equal((await stat(tokens)).mode & 0o777, 0o700);
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await readFile(file, "utf8")).includes(token.secret), false);
  const found = must(await store.find(token, NOW));
  assert.deepEqual([found.namespace, found.serviceAccount, found.uses], ["n", "a", 1]);
  assert.deepEqual(parseJoinToken(formatJoinToken(token)), token);
});

test("a wrong secret, an unknown id and an expired token are refused", async () => {
  const token = await create(1);
  for (const wrong of [
    { ...token, secret: "a".repeat(43) },
    { ...token, id: "0123456789abcdef" },
  ]) {
    const found = await store.find(wrong, NOW);
    assert(isFailure(found));
    assert.equal(found.code, "TOKEN_REFUSED");
    assert.match(found.detail, /unknown, revoked, or not its secret$/);
  }
  const late = await store.find(token, NOW + HOUR_MS);
  assert(isFailure(late));
  assert.match(late.detail, /expired at 2023-/);
});

test("of many who race for the uses of a token as many get one as there are, whoever holds the folder", async () => {
  const token = must(await store.find(await create(3), NOW));
  const stores = Array.from({ length: 20 }, () => new TokenStore(folder));
  const outcomes = await Promise.all(stores.map((each) => each.spend(token)));
  assert.equal(outcomes.filter((outcome) => outcome === undefined).length, 3);
  const [listed] = must(await store.list());
  assert.equal(listed?.used, 3);
  for (const outcome of outcomes) assert(outcome === undefined || outcome.code === "TOKEN_REFUSED");
});

test("a token without a limit is never used up", async () => {
  const token = must(await store.find(await create(undefined), NOW));
  for (let use = 0; use < 5; use += 1) assert.equal(await store.spend(token), undefined);
  assert.equal(must(await store.list())[0]?.used, undefined);
});

test("a revoked token is gone, with its uses", async () => {
  const token = await create(2);
  must(await store.find(token, NOW));
  await store.spend(must(await store.find(token, NOW)));
  assert.equal(await store.revoke(token.id), true);
  assert.equal(await store.revoke(token.id), false);
  assert.equal(await store.revoke("../ca"), false);
  assert(isFailure(await store.find(token, NOW)));
  assert.deepEqual(await readdir(join(folder, "tokens")), []);
});

test("what expired a day ago is put away, and nothing else", async () => {
  const old = await create(1);
  const young = await create(1, NOW + 30 * HOUR_MS);
  await store.spend(must(await store.find(old, NOW)));
  await store.spend(must(await store.find(young, NOW)));
  assert.equal(await store.sweep(NOW + 24 * HOUR_MS), 0);
  assert.equal(await store.sweep(NOW + 26 * HOUR_MS), 1);
  assert.deepEqual((await readdir(join(folder, "tokens"))).toSorted(), [`${young.id}.1.used`, `${young.id}.json`]);
});

test("a file that is no token, or that others may read, is refused and not listed", async () => {
  const token = await create(1);
  const file = join(folder, "tokens", `${token.id}.json`);
  const text = await readFile(file, "utf8");
  for (const wrong of ["", "{}", "null", text.slice(0, -1), text.replace('"uses":1', '"uses":0')]) {
    await writeFile(file, wrong);
    const found = await store.find(token, NOW);
    assert(isFailure(found));
    assert.equal(found.code, "IDENTITY_UNAVAILABLE");
    assert.deepEqual(await store.list(), []);
  }
  await writeFile(file, text);
  await chmod(file, 0o644);
  const open = await store.find(token, NOW);
  assert(isFailure(open));
  assert.match(open.detail, /mode 0644/);
});

test("a folder that cannot be written spends nothing and says so", async () => {
  const token = must(await store.find(await create(1), NOW));
  await rm(join(folder, "tokens"), { recursive: true });
  const spent = await store.spend(token);
  assert.equal(spent?.code, "IDENTITY_UNAVAILABLE");
  assert.deepEqual(await store.list(), []);
});
