import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { addressKey, CallerRates } from "./caller-rates.ts";

test("each caller has a bucket of its own, which fills again", () => {
  const clock = new FakeClock();
  const rates = new CallerRates({ clock, burst: 2, perSecond: 1, most: 10 });
  assert.deepEqual([rates.take("a"), rates.take("a"), rates.take("a"), rates.take("b")], [true, true, false, true]);
  assert.equal(rates.has("a"), false);
  clock.advance(1_000);
  assert.equal(rates.has("a"), true);
  assert.deepEqual([rates.take("a"), rates.take("a")], [true, false]);
});

test("the one that has been quiet for longest is forgotten", () => {
  const rates = new CallerRates({ clock: new FakeClock(), burst: 1, perSecond: 0, most: 2 });
  rates.take("a");
  rates.take("b");
  rates.take("a");
  rates.take("c");
  assert.deepEqual([rates.has("a"), rates.has("b"), rates.has("c")], [false, true, false]);
});

test("an IPv6 host counts as its network", () => {
  assert.equal(addressKey("10.0.0.1"), "10.0.0.1");
  assert.equal(addressKey("::ffff:10.0.0.1"), "10.0.0.1");
  assert.equal(addressKey("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
  assert.equal(addressKey("2001:db8:1:2::6"), "2001:db8:1:2::/64");
  assert.equal(addressKey("2001:db8::6"), "2001:db8:0:0::/64");
  assert.equal(addressKey("::1"), "0:0:0:0::/64");
});
