// Hostile, rows C1, C2 and C3 on the configuration stream: an authority that was broken into, or reads what somebody wrote to do harm. What
// can be read is refused with its field, what cannot ends the stream; the state in use stays, and the next good update is taken.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import process from "node:process";
import { routing } from "@culvert/shared/config/routing/routing.ts";
import { documents, entry, fixture, opened, untilStream } from "@culvert/shared/config/stream/stream-fixtures.ts";
import { REFUSED_UPDATES, regularExpressions, UNFIT_UPDATES } from "../support/poisoned-updates.ts";
import { until } from "../support/until.ts";

/** What one update may cost, ms of processor time; 0.1 to 0.3 s were measured on a busy machine. */
const MOST_CPU_MS = 3_000;
/** How long one may take on a machine that does much else. */
const DEADLINE_MS = 60_000;
/** Of one in many messages there is a pause after each. */
const MOST_CPU_OF_MANY_MS = 15_000;

describe("what is refused with its field", () => {
  for (const [name, set, about, path, text] of REFUSED_UPDATES) {
    test(name, async (context) => {
      const f = fixture(context, { routing, asker: () => ({ proxy: "waypoint", gateway: "default/waypoint" }) });
      const source = await opened(f);
      const good = source.get();
      const stream = await f.authority.stream(1);
      const poison = set();
      const start = process.cpuUsage();
      const outcome = await stream.outcome(stream.say({ set: poison }));
      const { user, system } = process.cpuUsage(start);
      assert.ok(outcome.kind === "nack");
      const [first] = outcome.problems;
      assert.deepEqual([first?.resource, first?.path], [about, path]);
      assert.match(first?.text ?? "", text);
      assert.ok(outcome.problems.length <= 100, `${outcome.problems.length} problems`);
      assert.equal(source.get(), good);
      assert.equal("polluted" in {}, false);
      assert.ok((user + system) / 1_000 < MOST_CPU_MS, `${(user + system) / 1_000} ms of processor time`);
      assert.equal((await stream.outcome(stream.say({ set: documents(entry("b", "10.0.0.2")) }))).kind, "ack");
      assert.ok(source.get().directory.workload("default/b") !== undefined);
    });
  }

  test("a route with a megabyte of regular expressions fails closed, and nothing but it", async (context) => {
    const f = fixture(context, { routing, asker: () => ({ proxy: "waypoint", gateway: "default/waypoint" }) });
    const source = await opened(f);
    const stream = await f.authority.stream(1);
    const start = process.cpuUsage();
    const outcome = await stream.outcome(stream.say({ set: regularExpressions() }));
    const { user, system } = process.cpuUsage(start);
    assert.equal(outcome.kind, "ack");
    assert.match(source.get().routes[0]?.notUnderstood ?? "", /spec\.rules: expected at most 16 entries, found 1000/);
    assert.ok((user + system) / 1_000 < MOST_CPU_MS, `${(user + system) / 1_000} ms of processor time`);
  });
});

describe("what ends the stream", () => {
  for (const [name, messages, why] of UNFIT_UPDATES) {
    test(name, async (context) => {
      const f = fixture(context);
      const source = await opened(f);
      const good = source.get();
      const stream = await f.authority.stream(1);
      await stream.outcome(1);
      const bytes = messages(2);
      const start = process.cpuUsage();
      stream.raw(...bytes);
      await until("the end of the stream", () => f.connection.length > 1, DEADLINE_MS);
      const { user, system } = process.cpuUsage(start);
      assert.match(f.connection.at(-1) ?? "", why);
      assert.equal(source.get(), good);
      assert.ok(
        (user + system) / 1_000 < (bytes.length > 2 ? MOST_CPU_OF_MANY_MS : MOST_CPU_MS),
        `${(user + system) / 1_000} ms of processor time`,
      );
      const next = await untilStream(f, 2);
      assert.equal((await next.outcome(next.say({ set: documents(entry("b", "10.0.0.2")) }))).kind, "ack");
      assert.ok(source.get().directory.workload("default/b") !== undefined);
    });
  }
});

test("an authority that goes back to an older state is followed, and one that repeats an update is not", async (context) => {
  const f = fixture(context);
  const source = await opened(f);
  const stream = await f.authority.stream(1);
  await stream.outcome(stream.say({ set: documents(entry("a", "10.0.0.9")) }));
  await stream.outcome(stream.say({ set: documents(entry("a")) }));
  assert.deepEqual(source.get().directory.workload("default/a")?.addresses, ["10.0.0.1"]);
  assert.equal(source.get().version, 3);
  stream.say({ nonce: 2, set: documents(entry("a", "10.0.0.9")) });
  await until("the end of the stream", () => f.connection.length > 1);
  assert.match(f.connection.at(-1) ?? "", /update 2 after 3/);
  assert.deepEqual(source.get().directory.workload("default/a")?.addresses, ["10.0.0.1"]);
});
