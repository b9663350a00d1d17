import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { Metrics } from "./metrics.ts";
import { RuleMetrics } from "./rule-metrics.ts";

test("requests are counted by route, rule and answer, over changes of the snapshot", () => {
  const metrics = new Metrics({ clock: new FakeClock() });
  const rules = new RuleMetrics(metrics);
  for (const code of [200, 200, 503]) rules.record({ route: { uid: "shop/reviews" }, name: "canary" }, code);
  const lines = metrics.render("prometheus").match(/^culvert_rule_requests_total.*$/gm);
  assert.deepEqual(lines, [
    'culvert_rule_requests_total{route="shop/reviews",rule="canary",response_code="200"} 2',
    'culvert_rule_requests_total{route="shop/reviews",rule="canary",response_code="503"} 1',
  ]);
});
