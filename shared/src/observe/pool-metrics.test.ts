// The metrics of the pool, in the words of a scrape.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { Metrics } from "./metrics.ts";
import { registerPoolMetrics, type PoolFacts } from "./pool-metrics.ts";

const STATS = { keys: 2, sessions: 3, streams: 40, dials: 1, waiting: 7, opened: 9, failed: 4 };

function scraped(facts: PoolFacts): string[] {
  const metrics = new Metrics({ clock: new FakeClock() });
  registerPoolMetrics(metrics, facts);
  return metrics
    .render("prometheus")
    .split("\n")
    .filter((line) => line.startsWith("culvert_pool_"));
}

test("says who waits, what was dialled and what is left out, as it is at the scrape", () => {
  let ejected = 0;
  const facts = { stats: () => STATS, ejections: () => ({ count: ejected, total: 5 }) };
  ejected = 2;
  assert.deepEqual(scraped(facts), [
    "culvert_pool_peers 2",
    "culvert_pool_dials 1",
    "culvert_pool_waiting 7",
    'culvert_pool_dials_total{result="opened"} 9',
    'culvert_pool_dials_total{result="failed"} 4',
    "culvert_pool_ejected 2",
    "culvert_pool_ejections_total 5",
  ]);
});

test("says nothing of ejections where there are none", () => {
  assert.equal(
    scraped({ stats: () => STATS }).some((line) => line.includes("eject")),
    false,
  );
});
