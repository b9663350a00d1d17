import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import type { Ip } from "@culvert/shared/net/ip.ts";
import { ip } from "@culvert/test/support/fixtures.ts";
import { Pool, Share } from "../tenants/share.ts";
import { OutsideNames } from "./outside-names.ts";

/** Lookups that a test answers. */
class Resolvers {
  readonly asked: string[] = [];
  readonly #waiting: PromiseWithResolvers<readonly Ip[]>[] = [];
  readonly lookup = (host: string): Promise<readonly Ip[]> => {
    this.asked.push(host);
    const waiting = Promise.withResolvers<readonly Ip[]>();
    this.#waiting.push(waiting);
    return waiting.promise;
  };

  answer(...addresses: readonly string[]): void {
    this.#waiting.shift()?.resolve(addresses.map(ip));
  }

  fail(reason: string, code: string): void {
    this.#waiting.shift()?.reject(Object.assign(new Error(reason), { code }));
  }
}

const share = (): Share => new Share(new Pool(1_000));

const clock = (): FakeClock => new FakeClock();

test("a name is asked for once by all who wait, and again once its answer is old", async () => {
  const [time, resolvers] = [clock(), new Resolvers()];
  const names = new OutsideNames(time, resolvers.lookup);
  const both = Promise.all([names.addresses("a.example", share()), names.addresses("a.example", share())]);
  resolvers.answer("192.0.2.1");
  assert.deepEqual(await both, [["192.0.2.1"], ["192.0.2.1"]]);
  time.advance(9_999);
  assert.deepEqual(await names.addresses("a.example", share()), ["192.0.2.1"]);
  assert.equal(resolvers.asked.length, 1);
  time.advance(1);
  const again = names.addresses("a.example", share());
  resolvers.answer("192.0.2.2");
  assert.deepEqual(await again, ["192.0.2.2"]);
});

test("a failure says why, and is kept for a second", async () => {
  const [time, resolvers] = [clock(), new Resolvers()];
  const names = new OutsideNames(time, resolvers.lookup);
  const first = names.addresses("a.example", share());
  resolvers.fail("queryA ENOTFOUND a.example", "ENOTFOUND");
  const failed = await first;
  assert.ok(isFailure(failed));
  assert.equal(failed.code, "NO_HEALTHY_UPSTREAM");
  assert.equal(failed.detail, "a.example: queryA ENOTFOUND a.example");
  assert.equal(await names.addresses("a.example", share()), failed);
  time.advance(1_000);
  const second = names.addresses("a.example", share());
  resolvers.answer("192.0.2.1");
  assert.deepEqual(await second, ["192.0.2.1"]);
});

test("resolvers that say nothing are given up, and a late answer is nobody's", async () => {
  const [time, resolvers] = [clock(), new Resolvers()];
  const names = new OutsideNames(time, resolvers.lookup);
  const first = names.addresses("a.example", share());
  time.advance(5_000);
  const failed = await first;
  assert.ok(isFailure(failed) && failed.detail.includes("no answer in 5000 ms"));
  assert.equal(failed.code, "DNS_UPSTREAM_FAILED");
  resolvers.answer("192.0.2.1");
  assert.equal(await names.addresses("a.example", share()), failed);
});

test("so many at once and no more for one, and others find room; as many are kept as the bound says", async () => {
  const [time, resolvers] = [clock(), new Resolvers()];
  const names = new OutsideNames(time, resolvers.lookup);
  const pool = new Pool(64);
  const [one, other] = [new Share(pool), new Share(pool)];
  const asked = Array.from({ length: 32 }, (_, index) => names.addresses(`${index}.example`, one));
  const refused = await names.addresses("one-more.example", one);
  assert.ok(isFailure(refused) && refused.code === "TENANT_OVER_SHARE");
  const others = names.addresses("other.example", other);
  for (const _ of [...asked, others]) resolvers.answer("192.0.2.1");
  await Promise.all([...asked, others]);
  assert.deepEqual([one.used, other.used], [0, 0]);
  for (let index = 33; index < 1_025; index += 1) {
    const answer = names.addresses(`${index}.example`, share());
    resolvers.answer("192.0.2.1");
    await answer;
  }
  const before = resolvers.asked.length;
  await names.addresses("1.example", share());
  assert.equal(resolvers.asked.length, before);
  const forgotten = names.addresses("0.example", share());
  assert.equal(resolvers.asked.length, before + 1);
  resolvers.answer("192.0.2.1");
  await forgotten;
});

test("of a long answer some is enough", async () => {
  const [time, resolvers] = [clock(), new Resolvers()];
  const answer = new OutsideNames(time, resolvers.lookup).addresses("a.example", share());
  resolvers.answer(...Array.from({ length: 40 }, (_, index) => `192.0.2.${index + 1}`));
  const addresses = await answer;
  assert.ok(!isFailure(addresses));
  assert.equal(addresses.length, 16);
});
