import assert from "node:assert/strict";
import { it } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { negotiateExposition } from "./exposition.ts";
import { Metrics } from "./metrics.ts";

function example(): Metrics {
  const metrics = new Metrics({ clock: new FakeClock() });
  metrics.counter("requests_total", 'Requests, "all" of \\ them.', ["path"]).with('/"\n').add(3);
  metrics.gauge("depth", "Depth.").with().set(-1.5);
  const sizes = metrics.histogram("size", "Sizes.", [1, 10.5], ["kind"]);
  for (const size of [1, 5, 100]) sizes.with("x").observe(size);
  metrics.histogram("plain", "Plain.", [1]).with().observe(2);
  metrics.counter("never_total", "Never.", ["x"]);
  metrics.observe("now", "Now.", () => Number.POSITIVE_INFINITY);
  metrics.observe("absent", "Absent.", () => undefined);
  return metrics;
}

it("writes Prometheus' text format", () => {
  assert.equal(
    example().render("prometheus"),
    String.raw`# HELP requests_total Requests, "all" of \\ them.
# TYPE requests_total counter
requests_total{path="/\"\n"} 3
# HELP depth Depth.
# TYPE depth gauge
depth -1.5
# HELP size Sizes.
# TYPE size histogram
size_bucket{kind="x",le="1"} 1
size_bucket{kind="x",le="10.5"} 2
size_bucket{kind="x",le="+Inf"} 3
size_sum{kind="x"} 106
size_count{kind="x"} 3
# HELP plain Plain.
# TYPE plain histogram
plain_bucket{le="1"} 0
plain_bucket{le="+Inf"} 1
plain_sum 2
plain_count 1
# HELP now Now.
# TYPE now gauge
now +Inf
`,
  );
});

it("writes OpenMetrics: families without _total, bounds with a point, an end", () => {
  const text = example().render("openmetrics");
  assert.match(text, /^# HELP requests Requests, \\"all\\" of \\\\ them\.\n# TYPE requests counter\nrequests_total\{/);
  assert.match(text, /size_bucket\{kind="x",le="1\.0"\} 1\n/);
  assert.match(text, /\n# EOF\n$/);
});

it("gives OpenMetrics to who asks for it", () => {
  const scraper =
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
  assert.equal(negotiateExposition(scraper), "openmetrics");
  assert.equal(negotiateExposition("application/openmetrics-text"), "openmetrics");
  for (const accept of [
    undefined,
    "",
    "*/*",
    "text/plain",
    "application/openmetrics-text;q=0",
    "text/openmetrics-text",
  ]) {
    assert.equal(negotiateExposition(accept), "prometheus", accept ?? "none");
  }
});

it("asks the hooks before each scrape, and no more once they are taken back", () => {
  const metrics = new Metrics({ clock: new FakeClock() });
  const counter = metrics.counter("bytes_total", "Bytes.").with();
  const stop = metrics.beforeCollect(() => counter.add(10));
  assert.match(metrics.render("prometheus"), /bytes_total 10/);
  assert.match(metrics.render("prometheus"), /bytes_total 20/);
  stop();
  assert.match(metrics.render("prometheus"), /bytes_total 20/);
});

it("refuses a second metric of one name, which is a mistake of the program", () => {
  const metrics = new Metrics({ clock: new FakeClock() });
  metrics.counter("x_total", "X.");
  assert.throws(() => metrics.gauge("x_total", "X."), /registered twice/);
});

it("caps what is observed, too", () => {
  const metrics = new Metrics({ clock: new FakeClock(), cap: 2 });
  metrics.observeAll("seen", "Seen.", ["who"], () => ["a", "b", "c", "d"].map((who) => [[who], 1] as const));
  assert.equal(metrics.render("prometheus").match(/^seen\{/gm)?.length, 2);
  assert.deepEqual(metrics.overflowed(), [[["seen"], 1]]);
});
