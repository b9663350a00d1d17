// Machine. The load tools: wrk (saturation), fortio (a fixed rate), iperf3 (bulk), and idle connections held open. Each
// gives figures and throws when the subject made a single error.
import type { Socket } from "node:net";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { command } from "../support/env.ts";
import { cpuMs } from "../support/proc.ts";
import { succeed } from "../support/process.ts";
import { dial } from "../support/tcp.ts";
import { until } from "../support/until.ts";
import type { Address } from "../support/envoy.ts";
import type { Running } from "./subject.ts";

const BITS_PER_GBIT = 1e9;
const BYTES_PER_MB = 1e6;
const HELD_AT_ONCE = 50;

/** Processor time of the measured processes while something ran, in all and by part. */
export interface Spent {
  readonly totalMs: number;
  readonly byPart: ReadonlyMap<string, number>;
}

/** Runs `work` and tells what it cost the subject. */
export async function spending<T>(running: Running, work: () => Promise<T>): Promise<{ result: T; spent: Spent }> {
  const before = new Map([...running.parts].map(([part, program]) => [part, cpuMs([program.pid])]));
  const result = await work();
  const byPart = new Map<string, number>();
  let totalMs = 0;
  for (const [part, program] of running.parts) {
    const spent = cpuMs([program.pid]) - (before.get(part) ?? 0);
    byPart.set(part, spent);
    totalMs += spent;
  }
  return { result, spent: { totalMs, byPart } };
}

/** A load tool may run on another host. */
interface Prefixed {
  /** Command in front of it, such as `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
}

function prefixed({ prefix = [] }: Prefixed, tool: string, args: readonly string[]): Promise<string> {
  const [first, ...rest] = [...prefix, tool] as const;
  return succeed(first, [...rest, ...args]);
}

/** What wrk reports. */
export interface Saturated {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** wrk: `connections` requests in flight for `seconds`; with `close`, every request is a connection of its own. */
export async function saturate(
  { host, port }: Address,
  options: { readonly connections: number; readonly seconds: number; readonly close?: boolean } & Prefixed,
): Promise<Saturated> {
  const text = await prefixed(options, command("wrk"), [
    "--threads=1",
    `--connections=${options.connections}`,
    `--duration=${options.seconds}s`,
    "--latency",
    ...(options.close === true ? ["--header", "Connection: close"] : []),
    `http://${host}:${port}/`,
  ]);
  if (/Socket errors|Non-2xx/.test(text)) throw new Error(`wrk met errors at ${host}:${port}:\n${text}`);
  return {
    requests: numberIn(text, /(\d+) requests in/),
    perSecond: numberIn(text, /Requests\/sec:\s+([\d.]+)/),
    p50Ms: duration(text, /\n\s+50%\s+([\d.]+)(us|ms|s)/),
    p99Ms: duration(text, /\n\s+99%\s+([\d.]+)(us|ms|s)/),
  };
}

function numberIn(text: string, pattern: RegExp): number {
  const found = pattern.exec(text)?.[1];
  if (found === undefined) throw new Error(`${pattern} is not in:\n${text}`);
  return Number(found);
}

function duration(text: string, pattern: RegExp): number {
  const unit = pattern.exec(text)?.[2];
  const scale = unit === "us" ? 0.001 : unit === "s" ? 1000 : 1;
  return numberIn(text, pattern) * scale;
}

/** What fortio reports. */
export interface AtRate {
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

interface FortioReport {
  readonly DurationHistogram: {
    readonly Count: number;
    readonly Percentiles: readonly { readonly Percentile: number; readonly Value: number }[];
  };
  readonly RetCodes: Readonly<Record<string, number>>;
}

/** fortio: `rate` requests a second, evenly spread over 16 kept-alive connections. */
export async function atRate({ host, port }: Address, rate: number, seconds: number): Promise<AtRate> {
  const text = await succeed(command("fortio"), [
    "load",
    `-qps=${rate}`,
    `-t=${seconds}s`,
    "-c=16",
    "-uniform",
    "-p=50,99",
    "-r=0.00001",
    "-json=-",
    "-loglevel=error",
    `http://${host}:${port}/`,
  ]);
  const report = JSON.parse(text) as FortioReport;
  const requests = report.DurationHistogram.Count;
  if (report.RetCodes["200"] !== requests) throw new Error(`fortio met errors at ${host}:${port}:\n${text}`);
  const percentile = (wanted: number): number =>
    1000 * (report.DurationHistogram.Percentiles.find(({ Percentile }) => Percentile === wanted)?.Value ?? Number.NaN);
  return { requests, p50Ms: percentile(50), p99Ms: percentile(99) };
}

/** What h2load reports. */
export interface Http2Load {
  readonly requests: number;
  readonly perSecond: number;
  readonly meanMs: number;
}

/** h2load: `inFlight` requests over `connections` by prior knowledge, for `seconds`. */
export async function http2Load(
  { host, port }: Address,
  options: { readonly connections: number; readonly inFlight: number; readonly seconds: number },
): Promise<Http2Load> {
  const text = await succeed(command("h2load"), [
    `--clients=${options.connections}`,
    `--max-concurrent-streams=${options.inFlight / options.connections}`,
    `--duration=${options.seconds}`,
    `http://${host}:${port}/`,
  ]);
  const requests = numberIn(text, /(\d+) succeeded/);
  if (!/ 0 failed, 0 errored, 0 timeout/.test(text) || numberIn(text, /status codes: (\d+) 2xx/) < requests) {
    throw new Error(`h2load met errors at ${host}:${port}:\n${text}`);
  }
  return {
    requests,
    perSecond: numberIn(text, /finished in [\d.]+\w+, ([\d.]+) req\/s/),
    meanMs: duration(text, /time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)/),
  };
}

/** What `grpc-load` reports: calls, or messages there and back. */
export interface GrpcLoad {
  readonly calls: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** grpc-go: calls of 100 bytes there and back, or messages on streams that stay open, over 4 connections; without `rate` as many as may be. */
export async function grpcLoad(
  { host, port }: Address,
  options: {
    readonly kind: "unary" | "streaming";
    readonly inFlight: number;
    readonly seconds: number;
    readonly rate?: number;
  },
): Promise<GrpcLoad> {
  const text = await succeed(command("grpc-load"), [
    `-to=${host}:${port}`,
    `-kind=${options.kind}`,
    `-in-flight=${options.inFlight}`,
    `-seconds=${options.seconds}`,
    `-rate=${options.rate ?? 0}`,
  ]);
  return JSON.parse(text) as GrpcLoad;
}

/** What iperf3 reports. */
export interface Bulk {
  readonly gbitPerSecond: number;
  readonly megabytes: number;
}

interface IperfReport {
  readonly end: { readonly sum_received: { readonly bytes: number; readonly bits_per_second: number } };
}

/** iperf3: `streams` connections, `up` from the load tool to the application or `down`. */
export async function bulk(
  { host, port }: Address,
  options: { readonly direction: "up" | "down"; readonly streams: number; readonly seconds: number } & Prefixed,
): Promise<Bulk> {
  const text = await prefixed(options, command("iperf3"), [
    `--client=${host}`,
    `--port=${port}`,
    `--time=${options.seconds}`,
    `--parallel=${options.streams}`,
    "--json",
    ...(options.direction === "down" ? ["--reverse"] : []),
  ]);
  const { sum_received: received } = (JSON.parse(text) as IperfReport).end;
  return { gbitPerSecond: received.bits_per_second / BITS_PER_GBIT, megabytes: received.bytes / BYTES_PER_MB };
}

/** Opens `count` connections that have each carried one request, holds them while `work` runs, and closes them. */
export async function holding<T>({ host, port }: Address, count: number, work: () => Promise<T>): Promise<T> {
  const sockets: Socket[] = [];
  const open = async (): Promise<void> => {
    const connection = await dial(host, port);
    sockets.push(connection.socket);
    connection.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    await connection.bytes(1);
  };
  try {
    for (let begun = 0; begun < count; begun += HELD_AT_ONCE) {
      await Promise.all(Array.from({ length: Math.min(HELD_AT_ONCE, count - begun) }, open));
    }
    return await work();
  } finally {
    for (const socket of sockets) socket.destroy();
  }
}

/** Time until the first answer of a subject that was just started, milliseconds since `startedAt` (monotonic). */
export async function firstAnswer({ host, port }: Address, startedAt: number): Promise<number> {
  await until(`the first answer from ${host}:${port}`, async () => {
    const connection = await dial(host, port);
    try {
      connection.send(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      return (await connection.bytes(12)).toString("latin1").startsWith("HTTP/1.1 200");
    } finally {
      connection.close();
    }
  });
  return systemClock.monotonic() - startedAt;
}
