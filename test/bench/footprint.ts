// Root. `pnpm budgets [--strict]`: what one uproxy takes beside its budgets, in two minutes: the bundle, modules, the start, memory idle,
// after probes, under load and after it, and for each idle tunnel and session more. Needs nginx, wrk and iperf3. It measures on what
// runs else on the machine too, so that it only says what is over; with `--strict` it then ends with 1 if that is a size.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { mintSvid, svidName, testAuthority } from "../support/ca.ts";
import { ask } from "../support/http.ts";
import { reserveSubnet } from "../support/loopback.ts";
import { moduleCensus } from "../support/module-census.ts";
import { memory, type Memory } from "../support/proc.ts";
import type { Program } from "../support/process.ts";
import { observe } from "../support/until.ts";
import { TestWorkloadApi, x509Response } from "../support/workload-api.ts";
import { startAnswering, startIperf } from "./apps.ts";
import { BUDGETS } from "./budgets.ts";
import { AT, prepare, start, takeIdentityFrom, type Lab } from "./footprint-lab.ts";
import { holdSessionsFrom, holdSessionsTo } from "./footprint-sessions.ts";
import { bulk, holding, saturate } from "./load.ts";

const STARTS = 9;
const PROBE_ROUNDS = 3;
const SETTLE_MS = 10_000;
const LOAD_S = 2;
/** How often memory is looked at under load. */
const LOOK_MS = 100;
/** Tunnels that are there before and after: what the first ones need is not what each one more needs. */
const TUNNELS = { from: 100, to: 1_100 };
const SESSIONS = 200;
const RENEWALS = 100;
const KIB = 1024;

let exceeded = false;

function say(what: string, figures: string, budget?: { readonly text: string; readonly within: boolean }): void {
  const verdict = budget === undefined ? "" : `budget ${budget.text}${budget.within ? "" : "  <- EXCEEDED"}`;
  process.stdout.write(`${what.padEnd(26)}${figures.padEnd(46)}${verdict}`.trimEnd());
  process.stdout.write("\n");
}

/** Says a size, which `--strict` judges. */
function saySize(what: string, figures: string, size: number, limit: number, unit: string): void {
  const within = size <= limit;
  exceeded ||= !within;
  say(what, figures, { text: `${limit} ${unit}`, within });
}

function memoryText({ anon, pss }: Memory): string {
  return `RssAnon ${anon.toFixed(1)} MiB, PSS ${pss.toFixed(1)} MiB`;
}

function sayMemory(what: string, found: Memory, limit: number): void {
  saySize(what, memoryText(found), found.anon, limit, "MiB");
}

function sayEach(what: string, before: Memory, after: Memory, count: number, limit: number): void {
  const each = ((after.anon - before.anon) * KIB) / count;
  saySize(what, `RssAnon ${each.toFixed(1)} KiB`, each, limit, "KiB");
}

/** The larger of some in each figure. */
function larger(all: readonly Memory[]): Memory {
  const most = (figure: keyof Memory): number => Math.max(...all.map((each) => each[figure]));
  return { rss: most("rss"), pss: most("pss"), anon: most("anon") };
}

function now(programs: readonly Program[]): Memory {
  return larger(programs.map(({ pid }) => memory(pid)));
}

async function settled(programs: readonly Program[]): Promise<Memory> {
  await observe(SETTLE_MS);
  return now(programs);
}

/** The most that is seen while `work` runs. */
async function peak(programs: readonly Program[], work: () => Promise<void>): Promise<Memory> {
  const seen = [now(programs)];
  const looking = systemClock.every(LOOK_MS, () => void seen.push(now(programs)));
  try {
    await work();
  } finally {
    looking.cancel();
  }
  return larger(seen);
}

async function sayStart(lab: Lab): Promise<void> {
  const starts: { readyMs: number; cpuMs: number }[] = [];
  for (let round = 0; round < STARTS; round++) {
    const { program, readyMs, cpuMs } = await start(lab, "app");
    await program.stop();
    starts.push({ readyMs, cpuMs });
  }
  const sorted = (figure: "readyMs" | "cpuMs"): number[] =>
    starts.map((each) => each[figure]).toSorted((a, b) => a - b);
  const [least = Number.NaN] = sorted("readyMs");
  const middle = sorted("readyMs")[Math.floor(STARTS / 2)] ?? Number.NaN;
  const cpu = sorted("cpuMs")[Math.floor(STARTS / 2)] ?? Number.NaN;
  const text = `${middle.toFixed(0)} ms (least ${least.toFixed(0)}), CPU ${cpu.toFixed(0)} ms`;
  say("start to ready", text, { text: `${BUDGETS.readyMs} ms`, within: middle <= BUDGETS.readyMs });
}

async function probe(host: string): Promise<number> {
  const urls = [
    `${host}:${AT.ready}/healthz/ready`,
    `${host}:${AT.ready}/healthz/live`,
    `${host}:${AT.metrics}/metrics`,
  ];
  for (let round = 0; round < PROBE_ROUNDS; round++) {
    for (const url of urls) {
      const { status } = await ask(`http://${url}`);
      if (status !== 200) throw new Error(`${url} answered ${status}`);
    }
  }
  return PROBE_ROUNDS * urls.length;
}

/** Requests, bytes both ways and new connections, through the pair. */
async function load({ client }: Lab): Promise<void> {
  const http = { host: client, port: AT.http };
  // In turns: an iperf3 server that has just been used refuses for a moment.
  await bulk({ host: client, port: AT.bulk }, { direction: "up", streams: 1, seconds: LOAD_S });
  await saturate(http, { connections: 32, seconds: LOAD_S });
  await bulk({ host: client, port: AT.bulk }, { direction: "down", streams: 4, seconds: LOAD_S });
  await saturate(http, { connections: 32, seconds: LOAD_S, close: true });
}

// Each of the following has ends that have done nothing yet: memory that was used before would be used again, and hide the rest.

/** What a thousand tunnels more take at either end. */
async function sayTunnels(lab: Lab): Promise<void> {
  const [app, client] = [(await start(lab, "app")).program, (await start(lab, "client")).program];
  const at = { host: lab.client, port: AT.http };
  const look = async (): Promise<readonly [Memory, Memory]> => [await settled([app]), now([client])];
  const count = TUNNELS.to - TUNNELS.from;
  await holding(at, TUNNELS.from, async () => {
    const before = await look();
    const after = await holding(at, count, look);
    sayEach("an idle tunnel, inbound", before[0], after[0], count, BUDGETS.tunnelKiB);
    sayEach("an idle tunnel, outbound", before[1], after[1], count, BUDGETS.tunnelKiB);
  });
  await client.stop();
  await app.stop();
}

/** What a session more takes that somebody has opened to this end. */
async function sayInbound(lab: Lab): Promise<void> {
  const { program } = await start(lab, "app");
  const { before, after, count } = await holdSessionsFrom(lab, SESSIONS, () => settled([program]));
  sayEach("an idle session, inbound", before, after, count, BUDGETS.sessionKiB);
  await program.stop();
}

/** What a session more takes that this end has opened, with the tunnel that it was opened for. */
async function sayOutbound(lab: Lab): Promise<void> {
  const { program } = await start(lab, "client");
  const { before, after, count } = await holdSessionsTo(lab, () => settled([program]));
  sayEach("session and tunnel, out", before, after, count, BUDGETS.dialledSessionKiB);
  await program.stop();
}

/** What it takes to have the identity from a Workload API: idle, after a first identity and a hundred more. */
async function sayWorkloadApi(lab: Lab): Promise<void> {
  const socket = join(lab.folder, "agent.sock");
  const agent = new TestWorkloadApi(socket);
  const authority = await testAuthority("cluster.local");
  const next = async (): Promise<void> =>
    agent.say(x509Response([{ minted: await mintSvid(authority, svidName(authority, "default", "app")), authority }]));
  await agent.start();
  await next();
  takeIdentityFrom(lab, socket);
  const { program } = await start(lab, "app");
  const idle = await settled([program]);
  for (let renewal = 0; renewal < RENEWALS; renewal++) await next();
  const renewed = await settled([program]);
  await program.stop();
  takeIdentityFrom(lab);
  agent.stop();
  say("idle, by Workload API", memoryText(idle));
  say(`after ${RENEWALS} renewals`, memoryText(renewed));
}

async function main(lab: Lab): Promise<void> {
  const bytes = statSync(lab.bundle).size;
  saySize("bundle", `${bytes} bytes = ${(bytes / KIB).toFixed(1)} KiB`, bytes / KIB, BUDGETS.bundleKiB, "KiB");
  const { own, packages, builtIn } = await moduleCensus(lab.folder);
  say("modules, from sources", `${own.length} own, ${packages.length} of packages, ${builtIn.length} of Node`);
  await sayStart(lab);

  const apps = [
    await startAnswering(lab.folder, [{ host: lab.app, port: AT.http }]),
    await startIperf({ host: lab.app, port: AT.bulk }),
  ];
  const [app, client] = [(await start(lab, "app")).program, (await start(lab, "client")).program];
  const ends = [app, client];
  sayMemory("idle", await settled(ends), BUDGETS.idleMiB);
  const probes = (await probe(lab.app)) + (await probe(lab.client));
  sayMemory(`after ${probes / 2} probes`, await settled(ends), BUDGETS.probedMiB);

  sayMemory("under load, at most", await peak(ends, () => load(lab)), BUDGETS.loadedMiB);
  sayMemory("10 s after load", await settled(ends), BUDGETS.afterLoadMiB);

  for (const end of ends) await end.stop();

  await sayWorkloadApi(lab);
  await sayTunnels(lab);
  await sayInbound(lab);
  await sayOutbound(lab);
  for (const program of apps) await program.stop();
}

const folder = mkdtempSync(join(tmpdir(), "culvert-footprint-"));
const [ends, others] = [await reserveSubnet(), await reserveSubnet()];
try {
  await main(await prepare(folder, ends, others, SESSIONS));
  if (exceeded && process.argv.includes("--strict")) process.exitCode = 1;
} finally {
  await Promise.all([ends.release(), others.release()]);
  rmSync(folder, { recursive: true });
}
