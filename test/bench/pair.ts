// Root. `pnpm bench pair`: one app's connections to another app through a proxy beside each. In one run, interleaved:
// nothing in between, a plain TCP relay in Node at both ends, a pair of uproxies, a pair of Envoys speaking HBONE.
import { memory } from "../support/proc.ts";
import { observe } from "../support/until.ts";
import { SOURCE_BUDGETS } from "./budgets.ts";
import type { Effort } from "./effort.ts";
import { atRate, bulk, holding, saturate, spending } from "./load.ts";
import { bareTunnelPair, direct, envoyPair, relayPair, uproxyPair } from "./pair-subjects.ts";
import type { Column, Target } from "./report.ts";
import type { Measurement } from "./rounds.ts";
import type { Figures, Running, Subject } from "./subject.ts";

const US_PER_MS = 1000;
const CONNECTIONS = 32;
const RATE = 1000;

/** Who takes part. */
export const PAIR_SUBJECTS: readonly Subject[] = [direct, relayPair, bareTunnelPair, uproxyPair, envoyPair];

/** Memory of both ends, the larger of the two: each pod carries one. */
function memoryFigures(running: Running, when: string): Figures {
  const figures: Record<string, number> = {};
  for (const program of running.parts.values()) {
    const { anon, pss } = memory(program.pid);
    figures[`anon ${when}`] = Math.max(figures[`anon ${when}`] ?? 0, anon);
    figures[`pss ${when}`] = Math.max(figures[`pss ${when}`] ?? 0, pss);
  }
  return figures;
}

function bulkMeasurement(direction: "up" | "down", streams: number, effort: Effort): Measurement {
  const name = `${direction} ${streams}`;
  return {
    name: `bulk ${name}`,
    async measure(running) {
      if (running.bulk === undefined) return {};
      const target = running.bulk;
      await bulk(target, { direction, streams, seconds: 1 });
      const { result, spent } = await spending(running, () =>
        bulk(target, { direction, streams, seconds: effort.bulkS }),
      );
      return { [`gbit ${name}`]: result.gbitPerSecond, [`ms/MB ${name}`]: spent.totalMs / result.megabytes };
    },
  };
}

/** What is measured, in this order. */
export function pairMeasurements(effort: Effort): Measurement[] {
  return [
    {
      name: "memory idle",
      async measure(running) {
        // Long enough for a process to give back what its start has used.
        await observe(effort.settleMs);
        return memoryFigures(running, "idle");
      },
    },
    {
      name: `${CONNECTIONS} requests in flight`,
      async measure(running) {
        await saturate(running.http, { connections: CONNECTIONS, seconds: 1 });
        const { result, spent } = await spending(running, () =>
          saturate(running.http, { connections: CONNECTIONS, seconds: effort.saturateS }),
        );
        return {
          "req/s": result.perSecond,
          "us/req": (spent.totalMs * US_PER_MS) / result.requests,
          p50: result.p50Ms,
          p99: result.p99Ms,
        };
      },
    },
    {
      name: `${RATE} requests/s`,
      async measure(running) {
        const { result, spent } = await spending(running, () => atRate(running.http, RATE, effort.rateS));
        return {
          "us/req at rate": (spent.totalMs * US_PER_MS) / result.requests,
          "p50 at rate": result.p50Ms,
          "p99 at rate": result.p99Ms,
        };
      },
    },
    ...([1, 4] as const).flatMap((streams) =>
      (["up", "down"] as const).map((direction) => bulkMeasurement(direction, streams, effort)),
    ),
    {
      name: "new connections",
      async measure(running) {
        const { result, spent } = await spending(running, () =>
          saturate(running.http, { connections: CONNECTIONS, seconds: effort.saturateS, close: true }),
        );
        return { "conn/s": result.perSecond, "us/conn": (spent.totalMs * US_PER_MS) / result.requests };
      },
    },
    {
      name: "memory after load",
      async measure(running) {
        if (running.parts.size === 0) return {};
        await observe(effort.settleMs);
        return memoryFigures(running, "after");
      },
    },
    {
      name: `${effort.idleTunnels} idle tunnels`,
      async measure(running) {
        if (running.parts.size === 0) return {};
        return holding(running.http, effort.idleTunnels, async () => {
          await observe(effort.settleMs / 5);
          return memoryFigures(running, "held");
        });
      },
    },
  ];
}

/** The tables. */
export const PAIR_TABLES: readonly { readonly title: string; readonly columns: readonly Column[] }[] = [
  {
    title: `Small requests (wrk, ${CONNECTIONS} in flight; fortio, ${RATE}/s over 16 connections; latencies in ms)`,
    columns: [
      { figure: "req/s", heading: "req/s", decimals: 0 },
      { figure: "us/req", heading: "CPU us/req", decimals: 1 },
      { figure: "p50", heading: "p50", decimals: 2 },
      { figure: "p99", heading: "p99", decimals: 2 },
      { figure: "us/req at rate", heading: "at rate: CPU us/req", decimals: 0 },
      { figure: "p50 at rate", heading: "p50", decimals: 3 },
      { figure: "p99 at rate", heading: "p99", decimals: 3 },
      { figure: "conn/s", heading: "conn/s", decimals: 0 },
      { figure: "us/conn", heading: "CPU us/conn", decimals: 0 },
    ],
  },
  {
    title: "Bulk (iperf3; up = from the client)",
    columns: ["up 1", "down 1", "up 4", "down 4"].flatMap((way) => [
      { figure: `gbit ${way}`, heading: `${way}: Gbit/s`, decimals: 1 },
      { figure: `ms/MB ${way}`, heading: "CPU ms/MB", decimals: 2 },
    ]),
  },
  {
    title: "Memory of one process, the larger of the two, MiB (RssAnon, PSS), and start to first answer, ms",
    columns: [
      ...["idle", "after", "held"].flatMap((when) => [
        { figure: `anon ${when}`, heading: `${when}: anon`, decimals: 1 },
        { figure: `pss ${when}`, heading: "PSS", decimals: 1 },
      ]),
      { figure: "readyMs", heading: "ready", decimals: 0 },
    ],
  },
];

const OURS = uproxyPair.name;
const ENVOY = envoyPair.name;

/** What has to come out. */
export const PAIR_TARGETS: readonly Target[] = [
  {
    what: "requests/s, 32 in flight, to Envoy",
    ours: OURS,
    against: ENVOY,
    figure: "req/s",
    limit: 1,
    direction: "at least",
  },
  {
    what: "CPU per request, 32 in flight, to Envoy",
    ours: OURS,
    against: ENVOY,
    figure: "us/req",
    limit: 1,
    direction: "at most",
  },
  {
    what: "CPU per request at 1,000/s, to Envoy",
    ours: OURS,
    against: ENVOY,
    figure: "us/req at rate",
    limit: 1.1,
    direction: "at most",
  },
  {
    what: "p50 at 1,000/s, to Envoy",
    ours: OURS,
    against: ENVOY,
    figure: "p50 at rate",
    limit: 1.1,
    direction: "at most",
  },
  ...["up 1", "down 1", "up 4", "down 4"].flatMap((way): Target[] => [
    {
      what: `Gbit/s ${way}, to Envoy`,
      ours: OURS,
      against: ENVOY,
      figure: `gbit ${way}`,
      limit: 0.75,
      direction: "at least",
    },
    {
      what: `CPU per MB ${way}, to Envoy`,
      ours: OURS,
      against: ENVOY,
      figure: `ms/MB ${way}`,
      limit: 1.35,
      direction: "at most",
    },
  ]),
  {
    what: "new connections/s, to Envoy",
    ours: OURS,
    against: ENVOY,
    figure: "conn/s",
    limit: 0.75,
    direction: "at least",
  },
  { what: "RssAnon idle, MiB", ours: OURS, figure: "anon idle", limit: SOURCE_BUDGETS.idleMiB, direction: "at most" },
  {
    what: "RssAnon after load, MiB",
    ours: OURS,
    figure: "anon after",
    limit: SOURCE_BUDGETS.afterLoadMiB,
    direction: "at most",
  },
];
