import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { fail } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { FakeClock } from "../../net/fake-clock.ts";
import { Renewal, renewalDelay } from "./renewal.ts";

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
const DOWN = fail("IDENTITY_NOT_GIVEN", "down");

interface Turnable {
  /** What the next asks come to; a certificate of an hour unless said otherwise. */
  answer: () => Promise<Failure | undefined>;
  notAfter: number | undefined;
}

interface Lab {
  readonly clock: FakeClock;
  readonly renewal: Renewal;
  /** When it was asked, by the monotonic clock. */
  readonly askedAt: number[];
  readonly now: Turnable;
  /** Moves time by seconds, each with what it leads to. */
  readonly seconds: (count: number) => Promise<void>;
}

function lab(options: { readonly notAfterIn?: number; readonly random?: () => number } = {}): Lab {
  const clock = new FakeClock();
  const askedAt: number[] = [];
  const now: Turnable = {
    notAfter: options.notAfterIn === undefined ? undefined : clock.now() + options.notAfterIn,
    answer: async () => {
      now.notAfter = clock.now() + HOUR_MS;
      return undefined;
    },
  };
  return {
    clock,
    askedAt,
    now,
    seconds: async (count) => {
      for (let second = 0; second < count; second += 1) {
        clock.advance(1_000);
        await settled();
      }
    },
    renewal: new Renewal({
      clock,
      renew: () => {
        askedAt.push(clock.monotonic());
        return now.answer();
      },
      notAfter: () => now.notAfter,
      random: options.random ?? ((): number => 0.5),
    }),
  };
}

/** Everything that has been promised has happened. */
async function settled(): Promise<void> {
  await turn();
}

/** The most that fall into one second, from a time on. */
function busiest(times: readonly number[], from: number): number {
  const seconds = new Map<number, number>();
  for (const at of times.filter((time) => time >= from)) {
    const second = Math.floor(at / 1_000);
    seconds.set(second, (seconds.get(second) ?? 0) + 1);
  }
  return Math.max(...seconds.values());
}

test("a certificate is renewed at half of what remains, a tenth more or less", async () => {
  assert.deepEqual([renewalDelay(HOUR_MS, 0), renewalDelay(HOUR_MS, 0.5)], [27 * MINUTE_MS, 30 * MINUTE_MS]);
  assert(renewalDelay(HOUR_MS, 0.999_999) < 33 * MINUTE_MS);
  const { renewal, askedAt, seconds, clock } = lab({ notAfterIn: HOUR_MS });
  await seconds(1_799);
  assert.deepEqual(askedAt, []);
  assert.deepEqual([renewal.state.state, renewal.state.nextInMs], ["waiting", 1_000]);
  await seconds(1);
  assert.deepEqual(askedAt, [30 * MINUTE_MS]);
  // The new one has an hour again.
  await seconds(1_800);
  assert.deepEqual(askedAt, [30 * MINUTE_MS, HOUR_MS]);
  renewal.close();
  assert.equal(clock.pending, 0);
});

test("without a certificate it is due at once, and asked for once however often one asks", async () => {
  const { renewal, askedAt, seconds } = lab();
  await Promise.all([renewal.now(), renewal.now(), renewal.now()]);
  assert.deepEqual(askedAt, [0]);
  await seconds(2);
  assert.deepEqual(askedAt, [0]);
  renewal.close();
});

test("failures are retried at growing intervals up to 150 s, and one success begins anew", async () => {
  const one = lab({ notAfterIn: HOUR_MS, random: () => 0 });
  one.now.answer = async (): Promise<Failure> => DOWN;
  const begun = 27 * MINUTE_MS;
  await one.seconds(27 * 60 + 600);
  const waits = one.askedAt.map((at, index) => at - (one.askedAt[index - 1] ?? begun));
  assert.deepEqual(
    waits,
    [0, 1, 2, 4, 8, 16, 32, 64, 128, 150, 150].map((seconds) => seconds * 1_000),
  );
  const { state, failures, lastFailure } = one.renewal.state;
  assert.deepEqual([state, failures, lastFailure], ["failing", 11, DOWN]);
  one.now.answer = async (): Promise<undefined> => {
    one.now.notAfter = one.clock.now() + HOUR_MS;
    return undefined;
  };
  await one.seconds(150);
  assert.deepEqual(
    [one.renewal.state.state, one.renewal.state.failures, one.renewal.state.lastFailure],
    ["waiting", 0, undefined],
  );
  one.renewal.close();
});

test("jitter never makes a retry come before half a second", async () => {
  const one = lab({ random: () => 0.999_999 });
  one.now.answer = async (): Promise<Failure> => DOWN;
  await one.renewal.now();
  assert(one.renewal.state.nextInMs >= 500 && one.renewal.state.nextInMs < 501);
  one.renewal.close();
});

test("whoever throws on the way does not end renewals", async () => {
  const one = lab({ notAfterIn: HOUR_MS });
  one.now.answer = (): Promise<undefined> => Promise.reject(new Error("a listener has thrown"));
  await one.renewal.now();
  assert.equal(one.renewal.state.lastFailure?.code, "INTERNAL");
  await one.seconds(2);
  assert.equal(one.askedAt.length, 2);
  one.renewal.close();
});

test("a request without an answer is not asked a second time", async () => {
  const one = lab({ notAfterIn: MINUTE_MS });
  const { promise, resolve } = Promise.withResolvers<undefined>();
  one.now.answer = () => promise;
  await one.seconds(600);
  assert.equal(one.askedAt.length, 1);
  assert.equal(one.renewal.state.state, "asking");
  resolve(undefined);
  one.renewal.close();
});

test("a clock that is set forward renews at once what is due by it, one that is set back renews no later", async () => {
  const forward = lab({ notAfterIn: HOUR_MS });
  await forward.seconds(60);
  forward.clock.jump(HOUR_MS);
  await forward.seconds(1);
  assert.deepEqual(forward.askedAt, [61_000]);
  await forward.seconds(1_000);
  assert.equal(forward.askedAt.length, 1, "once");
  forward.renewal.close();

  const back = lab({ notAfterIn: HOUR_MS });
  await back.seconds(60);
  back.clock.jump(-HOUR_MS);
  await back.seconds(1_740);
  assert.deepEqual(back.askedAt, [30 * MINUTE_MS]);
  back.renewal.close();
});

test("a clock that is set forward does not press an authority that is down", async () => {
  const one = lab({ notAfterIn: HOUR_MS, random: () => 0 });
  one.now.answer = async (): Promise<Failure> => DOWN;
  await one.seconds(27 * 60 + 600);
  const before = one.askedAt.length;
  for (let jump = 0; jump < 10; jump += 1) {
    one.clock.jump(HOUR_MS);
    await one.seconds(10);
  }
  assert(one.askedAt.length - before <= 1);
  one.renewal.close();
});

test("a thousand that began together are spread: over their renewals, and over their retries", async (context) => {
  let seed = 1;
  /** Park and Miller: the same thousand in each run. */
  const random = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  const renewals: number[] = [];
  const retries: number[] = [];
  const clocks: FakeClock[] = [];
  const OUTAGE_MS = 10 * MINUTE_MS;
  for (let proxy = 0; proxy < 1_000; proxy += 1) {
    const clock = new FakeClock();
    clocks.push(clock);
    let notAfter: number | undefined;
    const renewal = new Renewal({
      clock,
      random,
      notAfter: () => notAfter,
      renew: async () => {
        const at = clock.monotonic();
        if (at < OUTAGE_MS) {
          retries.push(at);
          return DOWN;
        }
        renewals.push(at);
        notAfter = clock.now() + HOUR_MS;
        return undefined;
      },
    });
    void renewal.now();
  }
  await settled();
  const until = OUTAGE_MS + 40 * MINUTE_MS;
  for (let at = 0; at < until; at += 1_000) {
    for (const clock of clocks) clock.advance(1_000);
    await settled();
  }
  // The first tries are together, as all began; from the eighth on (over a minute apart) no second has more than a few in it.
  const late = busiest(retries, 5 * MINUTE_MS);
  assert(late < 50, `${late} retries in one second`);
  // All come back within the longest wait, and a life later within a fifth of it, here six minutes.
  const back = renewals.slice(0, 1_000);
  assert.equal(Math.max(...back) - OUTAGE_MS <= 150_000, true);
  assert(busiest(back, 0) < 50, `${busiest(back, 0)} came back in one second`);
  const next = renewals.slice(1_000);
  assert.equal(next.length, 1_000);
  assert(busiest(next, 0) < 20, `${busiest(next, 0)} renewals in one second`);
  const spreadMs = Math.max(...next) - Math.min(...next);
  assert(spreadMs > 5 * MINUTE_MS);
  context.diagnostic(
    `most in one second: ${late} retries, ${busiest(back, 0)} first answers, ${busiest(next, 0)} renewals`,
  );
  context.diagnostic(`renewals spread over ${Math.round(spreadMs / 1_000)} s`);
});
