// Root. `pnpm bench waypoint`: HTTP through one plain hop, and through whole chains with tunnels on both sides of a
// waypoint. The processor time of the hop or waypoint itself is told apart from that of its neighbours.
import { memory } from "../support/proc.ts";
import { observe } from "../support/until.ts";
import type { Effort } from "./effort.ts";
import { atRate, grpcLoad, http2Load, saturate, spending, type Spent } from "./load.ts";
import { direct } from "./pair-subjects.ts";
import type { Column, Target } from "./report.ts";
import type { Measurement } from "./rounds.ts";
import type { Running, Subject } from "./subject.ts";
import { culvertChain, envoyChain, envoyHop, mixedChain, nginxHop, nodeHop, plainHop } from "./waypoint-subjects.ts";

const US_PER_MS = 1000;
const CONNECTIONS = 32;
const RATE = 1000;

/** Who takes part. */
export const WAYPOINT_SUBJECTS: readonly Subject[] = [
  direct,
  nginxHop,
  envoyHop,
  nodeHop,
  plainHop,
  culvertChain,
  mixedChain,
  envoyChain,
];

/** The process that does HTTP. */
function httpPart(running: Running): string {
  return running.parts.has("waypoint") ? "waypoint" : "hop";
}

function cost(running: Running, spent: Spent, requests: number, suffix: string): Record<string, number> {
  if (running.parts.size === 0) return {};
  return {
    [`hop us/req${suffix}`]: ((spent.byPart.get(httpPart(running)) ?? 0) * US_PER_MS) / requests,
    [`all us/req${suffix}`]: (spent.totalMs * US_PER_MS) / requests,
  };
}

/** Requests of HTTP/2 in flight. */
function http2Measurement(effort: Effort): Measurement {
  return {
    name: `HTTP/2, ${CONNECTIONS} in flight`,
    async measure(running) {
      const { http2 } = running;
      if (http2 === undefined) return {};
      const options = { connections: 4, inFlight: CONNECTIONS };
      await http2Load(http2, { ...options, seconds: effort.warmS });
      const { result, spent } = await spending(running, () =>
        http2Load(http2, { ...options, seconds: effort.saturateS }),
      );
      return {
        "http2/s": result.perSecond,
        "http2 mean": result.meanMs,
        ...cost(running, spent, result.requests, " http2"),
      };
    },
  };
}

/** Calls, or messages on streams, in flight. */
function grpcMeasurement(kind: "unary" | "streaming", effort: Effort): Measurement {
  return {
    name: `gRPC, ${kind}, ${CONNECTIONS} in flight`,
    async measure(running) {
      const { grpc } = running;
      if (grpc === undefined) return {};
      const options = { kind, inFlight: CONNECTIONS };
      await grpcLoad(grpc, { ...options, seconds: effort.warmS });
      const { result, spent } = await spending(running, () =>
        grpcLoad(grpc, { ...options, seconds: effort.saturateS }),
      );
      return {
        [`${kind}/s`]: result.perSecond,
        [`${kind} p50`]: result.p50Ms,
        [`${kind} p99`]: result.p99Ms,
        ...cost(running, spent, result.calls, ` ${kind}`),
      };
    },
  };
}

/** What is measured, in this order. */
export function waypointMeasurements(effort: Effort): Measurement[] {
  return [
    {
      name: `${CONNECTIONS} requests in flight`,
      async measure(running) {
        await saturate(running.http, { connections: CONNECTIONS, seconds: 1 });
        const { result, spent } = await spending(running, () =>
          saturate(running.http, { connections: CONNECTIONS, seconds: effort.saturateS }),
        );
        return {
          "req/s": result.perSecond,
          p50: result.p50Ms,
          p99: result.p99Ms,
          ...cost(running, spent, result.requests, ""),
        };
      },
    },
    {
      name: `${RATE} requests/s`,
      async measure(running) {
        const { result, spent } = await spending(running, () => atRate(running.http, RATE, effort.rateS));
        return {
          "p50 at rate": result.p50Ms,
          "p99 at rate": result.p99Ms,
          ...cost(running, spent, result.requests, " at rate"),
        };
      },
    },
    http2Measurement(effort),
    grpcMeasurement("unary", effort),
    grpcMeasurement("streaming", effort),
    {
      name: "memory after load",
      async measure(running) {
        const program = running.parts.get(httpPart(running));
        if (program === undefined) return {};
        await observe(effort.settleMs);
        const { anon, pss } = memory(program.pid);
        return { anon, pss };
      },
    },
  ];
}

/** The tables. */
export const WAYPOINT_TABLES: readonly { readonly title: string; readonly columns: readonly Column[] }[] = [
  {
    title: `HTTP (wrk, ${CONNECTIONS} in flight; fortio, ${RATE}/s over 16 connections; latencies in ms; "hop" = the process that does HTTP; memory of it in MiB)`,
    columns: [
      { figure: "req/s", heading: "req/s", decimals: 0 },
      { figure: "hop us/req", heading: "hop us/req", decimals: 1 },
      { figure: "all us/req", heading: "all us/req", decimals: 1 },
      { figure: "p50", heading: "p50", decimals: 2 },
      { figure: "p99", heading: "p99", decimals: 2 },
      { figure: "hop us/req at rate", heading: "at rate: hop us/req", decimals: 0 },
      { figure: "all us/req at rate", heading: "all us/req", decimals: 0 },
      { figure: "p50 at rate", heading: "p50", decimals: 3 },
      { figure: "p99 at rate", heading: "p99", decimals: 3 },
      { figure: "anon", heading: "anon", decimals: 1 },
      { figure: "pss", heading: "PSS", decimals: 1 },
      { figure: "readyMs", heading: "ready ms", decimals: 0 },
    ],
  },
  {
    title: `HTTP/2 (h2load, ${CONNECTIONS} in flight over 4 connections, 100 bytes)`,
    columns: [
      { figure: "http2/s", heading: "req/s", decimals: 0 },
      { figure: "hop us/req http2", heading: "hop us/req", decimals: 1 },
      { figure: "http2 mean", heading: "mean", decimals: 2 },
    ],
  },
  {
    title: `gRPC (grpc-go, ${CONNECTIONS} in flight over 4 connections, 100 bytes there and back: calls, then messages on streams that stay open)`,
    columns: ["unary", "streaming"].flatMap((kind) => [
      { figure: `${kind}/s`, heading: kind === "unary" ? "calls/s" : "messages/s", decimals: 0 },
      { figure: `hop us/req ${kind}`, heading: "hop us each", decimals: 1 },
      { figure: `${kind} p50`, heading: "p50", decimals: 2 },
      { figure: `${kind} p99`, heading: "p99", decimals: 2 },
    ]),
  },
];

function ratio(what: string, ours: Subject, against: Subject, figure: string, limit: number): Target {
  return { what, ours: ours.name, against: against.name, figure, limit, direction: "at most" };
}

/** What has to come out. */
export const WAYPOINT_TARGETS: readonly Target[] = [
  ratio("plain hop, CPU per request, to Envoy's router", plainHop, envoyHop, "hop us/req", 0.65),
  ratio("plain hop at 1,000/s, to Envoy's router", plainHop, envoyHop, "hop us/req at rate", 0.65),
  ratio("plain hop, CPU per HTTP/2 request, to Envoy's router", plainHop, envoyHop, "hop us/req http2", 1),
  ratio("the same to node:http2 alone", plainHop, nodeHop, "hop us/req http2", 1.5),
  ratio("plain hop, CPU per gRPC call, to Envoy's router", plainHop, envoyHop, "hop us/req unary", 1),
  ratio("the same to node:http2 alone", plainHop, nodeHop, "hop us/req unary", 1.5),
  ratio("plain hop, CPU per streamed message, to Envoy's router", plainHop, envoyHop, "hop us/req streaming", 1),
  ratio("waypoint process, CPU per request, to Envoy's waypoint", culvertChain, envoyChain, "hop us/req", 0.9),
  ratio("waypoint process at 1,000/s, to Envoy's waypoint", culvertChain, envoyChain, "hop us/req at rate", 0.9),
  ratio("the same between uproxies, CPU per request", culvertChain, mixedChain, "hop us/req", 0.9),
  ratio("the same between uproxies at 1,000/s", culvertChain, mixedChain, "hop us/req at rate", 0.9),
];
