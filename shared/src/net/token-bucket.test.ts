// The budget: a burst, then the rate, never more than the burst.
import { equal } from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "./fake-clock.ts";
import { TokenBucket } from "./token-bucket.ts";

function taken(bucket: TokenBucket, tries: number): number {
  let count = 0;
  for (let i = 0; i < tries; i++) if (bucket.take()) count += 1;
  return count;
}

test("gives the burst at once, then the rate, and saves no more than the burst", () => {
  const clock = new FakeClock();
  const bucket = new TokenBucket(clock, 5, 2);
  equal(taken(bucket, 10), 5);
  clock.advance(400);
  equal(taken(bucket, 10), 0);
  clock.advance(100);
  equal(taken(bucket, 10), 1);
  clock.advance(2_000);
  equal(taken(bucket, 10), 4);
  clock.advance(3_600_000);
  equal(taken(bucket, 10), 5);
});
