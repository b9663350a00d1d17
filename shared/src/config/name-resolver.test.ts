import assert from "node:assert/strict";
import { setImmediate as turn } from "node:timers/promises";
import { describe, test } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { parseIp, type Ip } from "../net/ip.ts";
import { NameResolver } from "./name-resolver.ts";

const SECOND = 1000;

function ips(...texts: string[]): Ip[] {
  return texts.map((text) => parseIp(text)).filter((ip) => ip !== undefined);
}

/** A resolver whose questions wait until the test answers them. */
class Bench {
  readonly clock = new FakeClock();
  readonly asked: string[] = [];
  readonly unresolved: string[] = [];
  changes = 0;
  readonly resolver: NameResolver;
  readonly #open: { readonly host: string; readonly answer: (result: readonly Ip[] | Error) => void }[] = [];

  constructor() {
    this.resolver = new NameResolver({
      clock: this.clock,
      lookup: (host) => {
        this.asked.push(host);
        return new Promise((resolve, reject) => {
          this.#open.push({ host, answer: (result) => (result instanceof Error ? reject(result) : resolve(result)) });
        });
      },
      onChange: () => {
        this.changes += 1;
      },
      onUnresolved: (host, text) => this.unresolved.push(`${host}: ${text}`),
    });
  }

  get open(): number {
    return this.#open.length;
  }

  /** Moves time until something is asked, at most 16 seconds: the period with its jitter. */
  untilAsked(): void {
    for (let step = 0; step < 32 && this.open === 0; step += 1) this.clock.advance(SECOND / 2);
    assert.ok(this.open > 0, "nothing was asked again");
  }

  /** Answers the oldest open question for a host. */
  async answer(host: string, result: readonly Ip[] | Error): Promise<void> {
    const index = this.#open.findIndex((question) => question.host === host);
    assert.ok(index >= 0, `nobody asked for ${host}`);
    this.#open.splice(index, 1)[0]?.answer(result);
    await turn();
  }
}

async function isDone(promise: Promise<void>): Promise<boolean> {
  const marker = Symbol("pending");
  const first: unknown = await Promise.race([promise, turn(marker)]);
  return first !== marker;
}

describe("NameResolver", () => {
  test("first answers are waited for, not announced", async () => {
    const bench = new Bench();
    bench.resolver.watch(new Set(["a", "b"]));
    const settled = bench.resolver.settled();
    await bench.answer("a", ips("10.0.0.2", "10.0.0.1", "10.0.0.2"));
    assert.equal(await isDone(settled), false);
    await bench.answer("b", new Error("ENOTFOUND"));
    await settled;
    assert.deepEqual(bench.resolver.addresses("a"), ["10.0.0.1", "10.0.0.2"]);
    assert.deepEqual(bench.resolver.addresses("b"), []);
    assert.deepEqual(bench.resolver.addresses("c"), []);
    assert.deepEqual(bench.unresolved, ["b: ENOTFOUND"]);
    assert.equal(bench.changes, 0);
    bench.resolver.close();
    assert.equal(bench.clock.pending, 0);
  });

  test("what this uproxy itself has answered is no answer", async () => {
    const bench = new Bench();
    bench.resolver.watch(new Set(["a", "b"]));
    await bench.answer("a", ips("241.0.0.1"));
    await bench.answer("b", ips("241.0.0.1", "10.0.0.1"));
    assert.deepEqual(bench.resolver.addresses("b"), ["10.0.0.1"]);
    assert.deepEqual(bench.unresolved, ["a: the name has no address"]);
    bench.resolver.close();
  });

  test("without names there is nothing to wait for", async () => {
    const bench = new Bench();
    await bench.resolver.settled();
  });

  test("the wait ends after two seconds, the late answer is announced", async () => {
    const bench = new Bench();
    bench.resolver.watch(new Set(["a"]));
    const settled = bench.resolver.settled();
    bench.clock.advance(2 * SECOND);
    await settled;
    assert.deepEqual(bench.resolver.addresses("a"), []);
    await bench.answer("a", ips("10.0.0.1"));
    assert.equal(bench.changes, 1);
    assert.deepEqual(bench.resolver.addresses("a"), ["10.0.0.1"]);
    bench.resolver.close();
  });

  test("names are asked for again; only another answer is a change", async () => {
    const bench = new Bench();
    bench.resolver.watch(new Set(["a"]));
    await bench.answer("a", ips("10.0.0.1", "10.0.0.2"));
    assert.equal(bench.changes, 1);
    bench.untilAsked();
    await bench.answer("a", ips("10.0.0.2", "10.0.0.1"));
    assert.equal(bench.changes, 1);
    bench.untilAsked();
    await bench.answer("a", ips("10.0.0.3"));
    assert.equal(bench.changes, 2);
    assert.deepEqual(bench.resolver.addresses("a"), ["10.0.0.3"]);
    bench.resolver.close();
  });

  test("the last good answer stays, and the failure is told once until it is over", async () => {
    const bench = new Bench();
    bench.resolver.watch(new Set(["a"]));
    await bench.answer("a", ips("10.0.0.1"));
    for (const failure of [new Error("SERVFAIL"), new Error("SERVFAIL"), []]) {
      bench.untilAsked();
      await bench.answer("a", failure);
    }
    assert.deepEqual(bench.unresolved, ["a: SERVFAIL"]);
    assert.deepEqual(bench.resolver.addresses("a"), ["10.0.0.1"]);
    bench.untilAsked();
    await bench.answer("a", ips("10.0.0.1"));
    bench.untilAsked();
    await bench.answer("a", []);
    assert.deepEqual(bench.unresolved, ["a: SERVFAIL", "a: the name has no address"]);
    assert.equal(bench.changes, 1);
    bench.resolver.close();
  });

  test("after a failure the next try comes soon", async () => {
    const bench = new Bench();
    bench.resolver.watch(new Set(["a"]));
    await bench.answer("a", new Error("SERVFAIL"));
    bench.clock.advance(SECOND);
    assert.equal(bench.asked.length, 2);
    bench.resolver.close();
  });

  test("a lookup that takes too long has failed, and its late answer counts for nothing", async () => {
    const bench = new Bench();
    bench.resolver.watch(new Set(["a"]));
    bench.clock.advance(5 * SECOND);
    assert.deepEqual(bench.unresolved, ["a: no answer in 5000 ms"]);
    await bench.answer("a", ips("10.0.0.1"));
    assert.deepEqual(bench.resolver.addresses("a"), []);
    bench.resolver.close();
  });

  test("two questions are open at a time, late ones included", async () => {
    const bench = new Bench();
    bench.resolver.watch(new Set(["a", "b", "c"]));
    assert.deepEqual(bench.asked, ["a", "b"]);
    bench.clock.advance(60 * SECOND);
    assert.equal(bench.open, 2);
    await bench.answer("a", []);
    assert.deepEqual(bench.asked, ["a", "b", "c"]);
    bench.resolver.close();
  });

  test("a forgotten name is not asked for again, and its answer changes nothing", async () => {
    const bench = new Bench();
    bench.resolver.watch(new Set(["a", "b", "c"]));
    bench.resolver.watch(new Set(["b"]));
    await bench.answer("a", ips("10.0.0.1"));
    await bench.answer("b", ips("10.0.0.2"));
    assert.deepEqual(bench.asked, ["a", "b"]);
    assert.equal(bench.changes, 1);
    assert.deepEqual(bench.resolver.addresses("a"), []);
    bench.resolver.close();
    bench.clock.advance(60 * SECOND);
    assert.deepEqual(bench.asked, ["a", "b"]);
    assert.equal(bench.clock.pending, 0);
  });

  test("the system's resolver knows localhost", async () => {
    const changed = Promise.withResolvers<void>();
    const resolver = new NameResolver({
      clock: new FakeClock(),
      onChange: changed.resolve,
      onUnresolved: () => undefined,
    });
    resolver.watch(new Set(["localhost"]));
    await changed.promise;
    const known = new Set<string>(["127.0.0.1", "::1"]);
    assert.ok(resolver.addresses("localhost").every((ip) => known.has(ip)));
    resolver.close();
  });
});
