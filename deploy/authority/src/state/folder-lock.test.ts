import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { must } from "@culvert/test/support/must.ts";
import { until } from "@culvert/test/support/until.ts";
import { tryLock, whileLocked } from "./folder-lock.ts";

const MODULE = JSON.stringify(join(import.meta.dirname, "folder-lock.ts"));

test("a lock is held by one, in this process and in others, and is free when its holder is killed", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "culvert-lock-"));
  t.after(() => rm(folder, { recursive: true }));
  const script = `const { tryLock } = await import(${MODULE}); globalThis.lock = await tryLock(process.argv[1], "serve"); console.log("held"); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", script, folder], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  t.after(() => holder.kill("SIGKILL"));
  await once(holder.stdout, "data");
  assert.equal(await tryLock(folder, "serve"), undefined);
  const other = must(await tryLock(folder, "write"));
  assert(other !== undefined, "the other lock is free");
  assert.equal(await tryLock(folder, "write"), undefined, "and now it is held");
  other.release();
  holder.kill("SIGKILL");
  const lock = await until("the lock", () => tryLock(folder, "serve"));
  assert(!isFailure(lock));
  lock.release();
});

test("changes come one after the other, and what goes wrong in one frees the lock", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "culvert-lock-"));
  t.after(() => rm(folder, { recursive: true }));
  let inside = 0;
  const change = async (): Promise<number> => {
    inside += 1;
    const seen = inside;
    await new Promise(setImmediate);
    inside -= 1;
    return seen;
  };
  const seen = await Promise.all(Array.from({ length: 20 }, () => whileLocked(folder, change)));
  assert.deepEqual(new Set(seen), new Set([1]));
  const broken = whileLocked(folder, () => Promise.reject(new Error("broken")));
  await assert.rejects(broken, /broken/);
  assert.equal(await whileLocked(folder, change), 1);
});

test("a folder that is not there cannot be locked", async () => {
  const lock = await tryLock("/nowhere/at/all", "write");
  assert(isFailure(lock));
  assert.match(lock.detail, /write.lock: cannot be locked \(unable to open database file\)/);
});
