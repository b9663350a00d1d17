// How long an answer serves, for whom, and how much is kept.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { AnswerCache, CACHE_LIMITS } from "./cache.ts";
import { query, replyTo, soaData } from "./dns-fixtures.ts";
import { readQuery, type Query } from "./message.ts";

function read(bytes: Buffer): Query {
  const found = readQuery(bytes);
  assert.ok(typeof found === "object");
  return found;
}

function answered(asked: Buffer, ttl: number, flags = 0x8180): Buffer {
  return replyTo(asked, { flags, answers: [{ type: 1, ttl, data: Buffer.from([192, 0, 2, 1]) }] });
}

function make(limits = CACHE_LIMITS): {
  clock: FakeClock;
  cache: AnswerCache;
  keep: (asked: Buffer, reply: Buffer) => void;
  get: (asked: Buffer, stale?: boolean) => Buffer | undefined;
} {
  const clock = new FakeClock();
  const cache = new AnswerCache(clock, limits);
  return {
    clock,
    cache,
    keep: (asked, reply) => cache.keep(asked, read(asked), reply),
    get: (asked, stale) => cache.get(asked, read(asked), stale),
  };
}

test("serves the same question under its own id, counting down, and no longer than the records live", () => {
  const { clock, keep, get } = make();
  keep(query("example.com", { id: 1 }), answered(query("example.com", { id: 1 }), 60));
  clock.advance(20_500);
  const hit = get(query("example.com", { id: 2 }));
  assert.equal(hit?.readUInt16BE(0), 2);
  assert.equal(hit?.readUInt32BE(hit.length - 10), 40);
  assert.equal(get(query("example.com", { type: 28 })), undefined);
  assert.equal(get(query("EXAMPLE.com")), undefined, "the spelling comes back with the answer");
  clock.advance(40_000);
  assert.equal(get(query("example.com")), undefined);
});

test("after its time it serves for an hour while nobody answers", () => {
  const { clock, keep, get } = make();
  const asked = query("example.com");
  keep(asked, answered(asked, 60));
  clock.advance(60_000);
  assert.equal(get(asked), undefined);
  const stale = get(asked, true);
  assert.equal(stale?.readUInt32BE(stale.length - 10), 30);
  clock.advance(3_600_000);
  assert.equal(get(asked, true), undefined);
});

test("however long records live, five minutes", () => {
  const { clock, keep, get } = make();
  const asked = query("example.com");
  keep(asked, answered(asked, 86_400));
  clock.advance(299_000);
  assert.ok(get(asked) !== undefined);
  clock.advance(1_000);
  assert.equal(get(asked), undefined);
});

test("a name that is not there is kept as its zone says", () => {
  const { clock, keep, get } = make();
  const asked = query("nobody.example");
  keep(asked, replyTo(asked, { flags: 0x8183, authorities: [{ type: 6, ttl: 900, data: soaData(10) }] }));
  clock.advance(9_000);
  assert.ok(get(asked) !== undefined);
  clock.advance(1_000);
  assert.equal(get(asked), undefined);
});

test("what is not kept", () => {
  const { cache, keep } = make();
  const asked = query("example.com");
  const update = query("zone", { flags: 0x2800 });
  const cookie = query("example.com", { udpBytes: 1232, options: Buffer.from([0, 10, 0, 0]) });
  const chaos = query("version.bind", { class: 3 });
  keep(asked, answered(asked, 60, 0x8182));
  keep(asked, answered(asked, 60, 0x8380));
  keep(asked, answered(asked, 0));
  keep(asked, answered(asked, 60).subarray(0, -1));
  keep(asked, replyTo(asked, { answers: [{ type: 16, ttl: 60, data: Buffer.alloc(5_000) }] }));
  keep(update, answered(update, 60));
  keep(cookie, answered(query("example.com"), 60));
  keep(chaos, answered(chaos, 60));
  assert.equal(cache.size, 0);
});

test("is bounded in entries and bytes, and the least used goes first", () => {
  const { cache, keep, get } = make({ ...CACHE_LIMITS, entries: 3 });
  for (const name of ["a", "b", "c"]) keep(query(name), answered(query(name), 60));
  get(query("a"));
  keep(query("d"), answered(query("d"), 60));
  assert.equal(cache.size, 3);
  assert.equal(get(query("b")), undefined);
  assert.ok(get(query("a")) !== undefined);
  cache.clear();
  assert.deepEqual([cache.size, cache.bytes], [0, 0]);

  const small = make({ ...CACHE_LIMITS, bytes: 10_000 });
  for (let index = 0; index < 1_000; index += 1) small.keep(query(`n${index}`), answered(query(`n${index}`), 60));
  assert.ok(small.cache.bytes <= 10_000);
  assert.ok(small.cache.size > 10);
  for (let index = 0; index < 10; index += 1) small.keep(query("same"), answered(query("same"), 60));
  assert.ok(small.cache.bytes <= 10_000);
});
