// F27: ten thousand connections at once to one peer. One dial, sessions within their bound, who waits is bounded, who is over
// is told at once, and a tunnel from before does not notice.
import { deepEqual, equal, ok } from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { DEFAULT_TUNNEL_LIMITS as limits } from "@culvert/shared/tunnel/limits.ts";
import type { TunnelPair } from "../support/tunnel-pair.ts";
import { tunnelPair } from "../support/tunnel-pair.ts";
import { until } from "../support/until.ts";

const STORM = 10_000;
const REQUEST = { authority: "10.0.0.1:80", headers: {} };

function pairOf(maxSessionsPerKey: number): Promise<TunnelPair> {
  return tunnelPair({
    limits: { maxSessionsPerKey },
    onRequest: (request) => {
      request.accept();
      request.stream.on("data", (chunk) => void request.stream.write(chunk));
      request.stream.on("end", () => void request.stream.end());
    },
  });
}

test("a storm to a peer that is not connected: one dial, and a bound on who waits for it", async () => {
  const pair = await pairOf(1);
  const storm = Array.from({ length: STORM }, async () => {
    const result = await pair.pool.open(pair.target, REQUEST);
    if (isFailure(result)) return result.code;
    result.stream.resume().end();
    return "open";
  });
  deepEqual(
    { dials: pair.pool.stats().dials, waiting: pair.pool.stats().waiting },
    { dials: 1, waiting: limits.maxWaitersPerKey },
  );
  const results = await Promise.all(storm);
  const count = (what: string): number => results.filter((result) => result === what).length;
  equal(count("open"), limits.maxWaitersPerKey);
  equal(count("TOO_MANY_WAITERS"), STORM - limits.maxWaitersPerKey);
  equal(pair.poolEvents.filter(({ kind }) => kind === "session-opened").length, 1);
  await pair.close();
});

test("a storm beside an old tunnel: it goes on, and all that was taken is given back", async () => {
  const pair = await pairOf(4);
  const old = await pair.open();
  let heard = 0;
  old.stream.on("data", (chunk: Buffer) => void (heard += chunk.length));
  let most = 0;
  const storming = { left: STORM };
  const storm = Array.from({ length: STORM }, async () => {
    const result = await pair.pool.open(pair.target, REQUEST);
    most = Math.max(most, pair.pool.stats().sessions);
    if (!isFailure(result)) result.stream.resume().end();
    storming.left -= 1;
  });
  for (let word = 1; storming.left > 0; word += 1) {
    old.stream.write("x");
    await until("the old tunnel's answer", () => heard >= word);
    await new Promise(setImmediate);
  }
  await Promise.all(storm);
  ok(most <= 4, `${most} sessions`);
  equal(old.stream.closed, false);
  await until("the streams to end", () => pair.pool.stats().streams === 1);
  equal(pair.pool.stats().waiting, 0);
  await pair.close();
});
