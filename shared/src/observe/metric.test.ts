import assert from "node:assert/strict";
import { describe, it } from "node:test";
import * as fc from "fast-check";
import { FakeClock } from "../net/fake-clock.ts";
import { labelText } from "./label-text.ts";
import { Metrics } from "./metrics.ts";
import type { Metric } from "./metric.ts";
import type { Counter } from "./series.ts";

const MINUTE = 60_000;

function counters(cap = 3): { clock: FakeClock; metrics: Metrics; counter: Metric<Counter> } {
  const clock = new FakeClock();
  const metrics = new Metrics({ clock, cap, histogramCap: cap, idleMs: 10 * MINUTE });
  return { clock, metrics, counter: metrics.counter("things_total", "Things.", ["kind"]) };
}

const shown = (counter: Metric<Counter>): Record<string, number> =>
  Object.fromEntries([...counter.collect()].map((series) => [series.values.join(), series.value]));

describe("a label text", () => {
  it("escapes what the format escapes and keeps different values different", () => {
    assert.equal(labelText(["a", "b"], ['x"y', "c\\d\ne"]), String.raw`a="x\"y",b="c\\d\ne"`);
    assert.notEqual(labelText(["a", "b"], ['x",b="y', ""]), labelText(["a", "b"], ["x", "y"]));
  });

  it("cuts endless values and mends broken text", () => {
    assert(labelText(["a"], ["x".repeat(100_000)]).length < 600);
    assert.equal(labelText(["a"], ["\ud800"]), 'a="\ufffd"');
  });
});

describe("the cap", () => {
  it("gives what is beyond it to one series of `other`, and counts how often", () => {
    const { counter } = counters(3);
    for (let index = 0; index < 1000; index += 1) counter.with(`k${index}`).add();
    assert.deepEqual(shown(counter), { k0: 1, k1: 1, k2: 1, other: 997 });
    assert.equal(counter.overflowed, 997);
    counter.with("k1").add();
    assert.equal(shown(counter)["k1"], 2, "those that have a series keep it");
  });

  it("stays flat and quick under a million label sets", () => {
    const { counter, metrics } = counters(1000);
    for (let index = 0; index < 1_000_000; index += 1) counter.with(`host-${index}.example`).add();
    assert.equal([...counter.collect()].length, 1001);
    assert(metrics.render("prometheus").length < 100_000);
  });

  it("makes room by ending the idle", () => {
    const { clock, counter } = counters(2);
    counter.with("a").add();
    counter.with("b").add();
    shown(counter);
    clock.advance(11 * MINUTE);
    counter.with("c").add();
    assert.deepEqual(shown(counter), { c: 1 });
  });
});

describe("an idle series", () => {
  it("ends after its time, counted from the last scrape that saw a change", () => {
    const { clock, counter } = counters();
    const series = counter.with("a");
    series.add(5);
    assert.deepEqual(shown(counter), { a: 5 });
    clock.advance(9 * MINUTE);
    series.add(1);
    assert.deepEqual(shown(counter), { a: 6 });
    clock.advance(9 * MINUTE);
    assert.deepEqual(shown(counter), { a: 6 });
    clock.advance(2 * MINUTE);
    assert.deepEqual(shown(counter), {});
  });

  it("comes back when its holder adds to it, from zero, as a restart would", () => {
    const { clock, counter } = counters();
    const series = counter.with("a");
    series.add(5);
    shown(counter);
    clock.advance(11 * MINUTE);
    assert.deepEqual(shown(counter), {});
    series.add(2);
    assert.deepEqual(shown(counter), { a: 2 });
  });

  it("becomes one with the series that took its place meanwhile", () => {
    const { clock, counter } = counters();
    const old = counter.with("a");
    old.add(5);
    shown(counter);
    clock.advance(11 * MINUTE);
    shown(counter);
    const fresh = counter.with("a");
    assert.notEqual(fresh, old);
    fresh.add(3);
    old.add(1);
    assert.deepEqual(shown(counter), { a: 4 });
    fresh.add(1);
    assert.deepEqual(shown(counter), { a: 5 });
  });

  it("stays while it is held", () => {
    const { clock, counter } = counters();
    const series = counter.with("a");
    series.add(5);
    series.hold();
    shown(counter);
    clock.advance(60 * MINUTE);
    assert.deepEqual(shown(counter), { a: 5 });
    series.release();
    shown(counter);
    clock.advance(11 * MINUTE);
    assert.deepEqual(shown(counter), {});
  });

  it("stays while it was held before it became one with another", () => {
    const { clock, counter } = counters();
    const old = counter.with("a");
    shown(counter);
    clock.advance(11 * MINUTE);
    shown(counter);
    const fresh = counter.with("a");
    fresh.add(3);
    fresh.hold();
    old.add(1);
    shown(counter);
    clock.advance(60 * MINUTE);
    assert.deepEqual(shown(counter), { a: 4 });
    fresh.release();
    shown(counter);
    clock.advance(11 * MINUTE);
    assert.deepEqual(shown(counter), {});
  });

  it("stays for ever when it has no labels, or is a gauge", () => {
    const { clock, metrics } = counters();
    metrics.counter("plain_total", "Plain.").with().add(1);
    metrics.gauge("level", "Level.", ["a"]).with("x").set(2);
    metrics.render("prometheus");
    clock.advance(60 * MINUTE);
    metrics.render("prometheus");
    clock.advance(60 * MINUTE);
    assert.match(metrics.render("prometheus"), /plain_total 1\n[^]*level\{a="x"\} 2\n/);
  });
});

it("loses and doubles nothing, in whatever order series are made, added to, and end", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("add" as const), holder: fc.nat(3), label: fc.constantFrom("a", "b", "c") }),
    fc.record({ do: fc.constant("make" as const), holder: fc.nat(3), label: fc.constantFrom("a", "b", "c") }),
    fc.record({ do: fc.constant("wait" as const), holder: fc.constant(0), label: fc.constant("a") }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { clock, counter } = counters(2);
      const held = new Map<string, Counter>();
      let sinceWait = 0;
      for (const { do: what, holder, label } of steps) {
        const key = `${holder}/${label}`;
        if (what === "wait") {
          // Two sweeps: the first sees the last change, the second that nothing has come since. All are idle then.
          shown(counter);
          clock.advance(11 * MINUTE);
          shown(counter);
          sinceWait = shown(counter)["other"] ?? 0;
        } else if (what === "make") {
          held.set(key, counter.with(label));
        } else {
          const series = held.get(key) ?? counter.with(label);
          held.set(key, series);
          series.add();
          sinceWait += 1;
        }
      }
      const total = [...counter.collect()].reduce((sum, series) => sum + series.value, 0);
      assert.equal(total, sinceWait);
    }),
    { numRuns: 2000 },
  );
});
