import assert from "node:assert/strict";
import { it } from "node:test";
import { FAILURES } from "../failure/failure.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { Metrics } from "./metrics.ts";
import { ProxyMetrics } from "./proxy-metrics.ts";
import type { ProxyFacts } from "./proxy-metrics.ts";

const FACTS: ProxyFacts = {
  component: "uproxy",
  version: "0.1.0",
  commit: "abc",
  ready: () => true,
  certificate: () => ({ id: "spiffe://cluster.local/ns/default/sa/a", notAfter: 1_767_225_600_500 }),
  config: () => ({
    version: 7,
    errors: 0,
    notUnderstood: 2,
    asOf: Date.UTC(2025, 11, 31),
    isRestored: true,
    notSaved: 3,
  }),
  connections: () => ({ inbound: 1, outbound: 2 }),
  sessions: () => ({ inbound: 3, outbound: 4 }),
  tunnels: () => ({ inbound: 5, outbound: 6 }),
  droppedLines: () => 8,
  suppressedLines: () => 9,
};

function setUp(facts: ProxyFacts = FACTS) {
  const clock = new FakeClock();
  const metrics = new Metrics({ clock, cap: 100 });
  return { clock, metrics, own: new ProxyMetrics(metrics, facts, clock), render: () => metrics.render("prometheus") };
}

it("counts failures by code, each code there from the start and staying", () => {
  const { clock, own, render } = setUp();
  own.failure("DENIED_BY_POLICY");
  own.failure("DENIED_BY_POLICY");
  render();
  clock.advance(24 * 3_600_000);
  const lines: readonly string[] = render().match(/^culvert_failures_total\{code="[A-Z_]+"\} \d+$/gm) ?? [];
  assert.equal(lines.length, Object.keys(FAILURES).length);
  assert(lines.includes('culvert_failures_total{code="DENIED_BY_POLICY"} 2'));
  assert(lines.includes('culvert_failures_total{code="INTERNAL"} 0'));
});

it("says what runs, what it knows and what it holds", () => {
  const text = setUp().render();
  for (const line of [
    `culvert_build_info{component="uproxy",version="0.1.0",commit="abc",node="${process.version}"} 1`,
    'istio_build{component="uproxy",tag="0.1.0"} 1',
    "culvert_ready 1",
    'culvert_certificate_expiration_timestamp_seconds{identity="spiffe://cluster.local/ns/default/sa/a"} 1767225600.5',
    "culvert_config_version 7",
    "culvert_config_age_seconds 86400",
    "culvert_config_restored 1",
    "culvert_config_save_failures_total 3",
    'culvert_config_problems{severity="error"} 0',
    'culvert_config_problems{severity="not_understood"} 2',
    'culvert_connections_open{direction="outbound"} 2',
    'culvert_tunnel_sessions{direction="inbound"} 3',
    'culvert_tunnels_open{direction="outbound"} 6',
    "culvert_log_lines_dropped_total 8",
    "culvert_log_lines_suppressed_total 9",
  ]) {
    assert(text.includes(`${line}\n`), line);
  }
  assert.match(text, /^process_resident_memory_bytes [1-9]\d{6,}$/m);
  assert.match(text, /^process_open_fds [1-9]\d*$/m);
  assert.match(text, /^process_cpu_seconds_total [\d.]+$/m);
});

it("leaves out what a program does not have", () => {
  const { component, version, commit, ready, droppedLines, suppressedLines } = FACTS;
  const facts = { component, version, commit, ready, droppedLines, suppressedLines };
  const text = setUp({ ...facts, certificate: () => undefined }).render();
  assert.doesNotMatch(text, /culvert_(certificate|config|connections|tunnel)/);
});

it("shows the longest delay of the event loop since the last scrape", () => {
  /** A clock whose timer can come late. */
  class LateClock extends FakeClock {
    late = 0;
    override monotonic(): number {
      return super.monotonic() + this.late;
    }
  }
  const clock = new LateClock();
  const metrics = new Metrics({ clock });
  const own = new ProxyMetrics(metrics, FACTS, clock);
  clock.advance(1000);
  assert.match(metrics.render("prometheus"), /^culvert_event_loop_lag_seconds 0$/m);
  clock.late = 250;
  clock.advance(1000);
  clock.advance(1000);
  assert.match(metrics.render("prometheus"), /^culvert_event_loop_lag_seconds 0\.25$/m);
  assert.match(metrics.render("prometheus"), /^culvert_event_loop_lag_seconds 0$/m);
  own.close();
  assert.equal(clock.pending, 0);
});

it("names the metrics whose label sets found no room", () => {
  const { metrics, render } = setUp();
  const counter = metrics.counter("things_total", "Things.", ["kind"]);
  for (let index = 0; index < 105; index += 1) counter.with(String(index)).add();
  assert.match(render(), /^culvert_metrics_overflow\{metric="things_total"\} 5$/m);
});
