import assert from "node:assert/strict";
import { test } from "node:test";
import { Pool, Share } from "./share.ts";

/** Takes one by one until no more is given. */
function fill(share: Share): number {
  while (share.take(1));
  return share.used;
}

test("one alone gets half, and the next ones find room", () => {
  const pool = new Pool(120);
  const shares = Array.from({ length: 4 }, () => new Share(pool));
  assert.deepEqual(shares.map(fill), [60, 30, 15, 7]);
});

test("those that take by turns get equal shares, and one as much again is free", () => {
  const pool = new Pool(120);
  const shares = Array.from({ length: 3 }, () => new Share(pool));
  for (let round = 0; round < 100; round += 1) for (const share of shares) share.take(1);
  assert.deepEqual(
    shares.map(({ used }) => used),
    [30, 30, 30],
  );
});

test("a share shrinks when others come, and grows again when they go", () => {
  const pool = new Pool(120);
  const [one, two] = [new Share(pool), new Share(pool)];
  fill(one);
  fill(two);
  one.give(30);
  assert.equal(fill(one), 45, "60 before the other came");
  two.give(two.used);
  assert.equal(fill(one), 60);
});

test("many at once are taken whole or not at all", () => {
  const pool = new Pool(100);
  const share = new Share(pool);
  assert.equal(share.take(51), false);
  assert.equal(share.used, 0);
  assert.equal(share.take(50), true);
  assert.equal(pool.used, 50);
});
