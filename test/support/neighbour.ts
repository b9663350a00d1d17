// For tests: the honest peer beside the hostile one. It plays ping-pong on a session of its own all the while, and tells
// afterwards how it fared; with what it leaves behind, this is the common end of every hostile test.
import { readdirSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { ok } from "node:assert/strict";
import type { FailureCode } from "@culvert/shared/failure/failure.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { processMemoryTools } from "@culvert/shared/net/memory.ts";
import type { TunnelPair } from "./tunnel-pair.ts";
import { until } from "./until.ts";

const collector = processMemoryTools();

/** How the neighbour fared. */
export interface Fared {
  readonly answers: number;
  readonly errors: number;
  /** Longest wait for one answer, milliseconds. */
  readonly worstMs: number;
}

export interface Neighbour {
  stop(): Promise<Fared>;
}

/** Starts the ping-pong over one tunnel of the pair's pool. The pair must accept tunnels and send back what it gets. */
export async function startNeighbour(pair: TunnelPair): Promise<Neighbour> {
  const { stream } = await pair.open("10.9.9.9:9");
  let answers = 0;
  let errors = 0;
  let worstMs = 0;
  let sentAt = systemClock.monotonic();
  let stopping = false;
  const over = Promise.withResolvers<void>();
  stream.on("data", () => {
    answers += 1;
    worstMs = Math.max(worstMs, systemClock.monotonic() - sentAt);
    if (stopping) {
      stream.close();
      return;
    }
    sentAt = systemClock.monotonic();
    stream.write("ping");
  });
  stream.on("close", () => {
    if (!stopping) errors += 1;
    over.resolve();
  });
  stream.write("ping");
  return {
    async stop() {
      stopping = true;
      await over.promise;
      return { answers, errors, worstMs };
    },
  };
}

/** What the process holds. */
export interface Held {
  readonly descriptors: number;
  readonly heapBytes: number;
}

/** Counts descriptors and the heap that is in use after a full collection. */
export function held(): Held {
  collector.major();
  return { descriptors: readdirSync("/proc/self/fd").length, heapBytes: process.memoryUsage().heapUsed };
}

/** Longest time that the event loop stood still, milliseconds. */
export function watchLoop(): () => number {
  let last = performance.now();
  let worst = 0;
  let on = true;
  const look = (): void => {
    const now = performance.now();
    worst = Math.max(worst, now - last);
    last = now;
    if (on) setImmediate(look);
  };
  look();
  return () => {
    on = false;
    return worst;
  };
}

/** The post-condition: neighbour unharmed, nothing of the hostile sessions left, and the operator told. */
export async function postCondition(
  pair: TunnelPair,
  neighbour: Neighbour,
  before: Held,
  code?: FailureCode,
): Promise<void> {
  if (code !== undefined) {
    await until(`an event with ${code}`, () => pair.serverEvents.some(({ failure }) => failure?.code === code));
  }
  const fared = await neighbour.stop();
  ok(fared.errors === 0 && fared.answers > 0, `the neighbour had ${fared.answers} answers and ${fared.errors} errors`);
  await until("only the neighbour's session", () => pair.server.sessions <= 1 && pair.server.streams === 0);
  await until("the descriptors of before", () => held().descriptors <= before.descriptors + 1, 5_000);
}
