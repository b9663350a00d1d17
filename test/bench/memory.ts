// Root. `node test/bench/memory.ts`: what one uproxy takes (modules, time to start, memory idle, after probes and after
// load) beside its budgets, in a minute. Needs nginx, wrk and iperf3. With `--strict` it ends with 1 when a budget of memory
// is exceeded; without it only says so, for machines that do other things too.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { stringify } from "yaml";
import { REPOSITORY } from "../support/env.ts";
import { ask } from "../support/http.ts";
import { identityOf, mintIdentities } from "../support/identities.ts";
import { reserveSubnet } from "../support/loopback.ts";
import { memory, type Memory } from "../support/proc.ts";
import { startProgram, type Program } from "../support/process.ts";
import { commandLine, writeResources } from "../support/programs.ts";
import { service, workloadEntry } from "../support/resources.ts";
import { observe } from "../support/until.ts";
import { startAnswering, startIperf } from "./apps.ts";
import { BUDGETS } from "./budgets.ts";
import { bulk, saturate } from "./load.ts";

const STARTS = 5;
const PROBE_ROUNDS = 3;
const SETTLE_MS = 10_000;
const LOAD_S = 2;
const READY = /"message":"ready"/;
/** The ordinary command. It replaces itself by Node, so that its process is the one to look at. */
const COMMAND = join(REPOSITORY, "node_modules/.bin/uproxy");

/** Places of one run. */
interface Lab {
  readonly folder: string;
  readonly app: string;
  readonly client: string;
}

const HTTP = 8080;
const BULK = 5201;

/** Writes identities, resources and the configuration of both ends. */
async function prepare({ folder, app, client }: Lab): Promise<void> {
  await mintIdentities(join(folder, "identities"), ["app", "client"]);
  writeResources(join(folder, "mesh"), "mesh", [
    service("app", [
      { name: "http", port: HTTP },
      { name: "tcp-bulk", port: BULK },
    ]),
    workloadEntry("app", app, { serviceAccount: "app" }),
    workloadEntry("client", client, { serviceAccount: "client" }),
  ]);
  for (const [account, address] of [
    ["app", app],
    ["client", client],
  ] as const) {
    const listeners = [HTTP, BULK].map((port) => ({ listen: `${client}:${port}`, to: `app.default:${port}` }));
    const config = {
      workload: { namespace: "default", name: account },
      identity: { files: identityOf(join(folder, "identities"), account).folder },
      resources: { files: join(folder, "mesh") },
      inbound: { hbone: `${address}:15008` },
      outbound: { listeners: account === "client" ? listeners : [], proxy: `${address}:15080` },
      admin: `${address}:15000`,
      readiness: `${address}:15021`,
      metrics: `${address}:15020`,
    };
    writeFileSync(configOf(folder, account), stringify(config));
  }
}

function configOf(folder: string, account: string): string {
  return join(folder, `${account}.yaml`);
}

/** Starts an end by the ordinary command, and tells how long it took until it was ready. */
async function start(lab: Lab, account: string): Promise<{ program: Program; readyMs: number }> {
  const begun = systemClock.monotonic();
  const args = ["run", "--config", configOf(lab.folder, account)];
  const program = startProgram({ name: account, command: COMMAND, args, keep: 100 });
  await program.line(READY);
  return { program, readyMs: systemClock.monotonic() - begun };
}

async function medianStartMs(lab: Lab): Promise<number> {
  const times: number[] = [];
  // The first one may have to strip the sources of their types.
  for (let round = 0; round <= STARTS; round++) {
    const { program, readyMs } = await start(lab, "app");
    await program.stop();
    if (round > 0) times.push(readyMs);
  }
  return times.toSorted((a, b) => a - b)[Math.floor(STARTS / 2)] ?? Number.NaN;
}

/** Which modules a running uproxy has loaded. */
async function census(lab: Lab): Promise<{ own: number; ofPackages: number; packages: string[]; builtIn: number }> {
  const { command, args } = commandLine("uproxy", ["run", "--config", configOf(lab.folder, "app")]);
  const preload = join(import.meta.dirname, "../support/census-process.ts");
  const program = startProgram({ name: "census", command, args: ["--import", preload, ...args] });
  await program.line(READY);
  await program.stop();
  const line = await program.line(/^modules /);
  const found = JSON.parse(line.slice("modules ".length)) as { urls: readonly string[]; builtIn: number };
  const names = found.urls.map((url) => /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url)?.[1]);
  const ofPackages = names.filter((name) => name !== undefined);
  const own = found.urls.filter((url, index) => url.startsWith("file:") && names[index] === undefined);
  return {
    own: own.length,
    ofPackages: ofPackages.length,
    packages: [...new Set(ofPackages)].toSorted(),
    builtIn: found.builtIn,
  };
}

async function probe(host: string): Promise<number> {
  const urls = [`${host}:15021/healthz/ready`, `${host}:15021/healthz/live`, `${host}:15020/metrics`];
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
  const http = { host: client, port: HTTP };
  // In turns: an iperf3 server that has just been used refuses for a moment.
  await bulk({ host: client, port: BULK }, { direction: "up", streams: 1, seconds: LOAD_S });
  await saturate(http, { connections: 32, seconds: LOAD_S });
  await bulk({ host: client, port: BULK }, { direction: "down", streams: 1, seconds: LOAD_S });
  await saturate(http, { connections: 32, seconds: LOAD_S, close: true });
}

/** The larger of the two in each figure. */
function larger(programs: readonly Program[]): Memory {
  const all = programs.map(({ pid }) => memory(pid));
  const most = (figure: keyof Memory): number => Math.max(...all.map((each) => each[figure]));
  return { rss: most("rss"), pss: most("pss"), anon: most("anon") };
}

let exceeded = false;

function say(what: string, figures: string, budget: string, within: boolean): void {
  const verdict = within ? "" : "  <- EXCEEDED";
  process.stdout.write(`${what.padEnd(22)}${figures.padEnd(44)}budget ${budget}${verdict}\n`);
}

function sayMemory(what: string, { anon, pss }: Memory, budgetMiB: number): void {
  const within = anon <= budgetMiB;
  exceeded ||= !within;
  say(what, `RssAnon ${anon.toFixed(1)} MiB, PSS ${pss.toFixed(1)} MiB`, `${budgetMiB} MiB`, within);
}

async function main(lab: Lab): Promise<void> {
  await prepare(lab);

  const readyMs = await medianStartMs(lab);
  const { own, ofPackages, packages, builtIn } = await census(lab);
  say("modules, own", String(own), String(BUDGETS.ownModules), own <= BUDGETS.ownModules);
  const known = packages.every((name) => BUDGETS.packages.some((allowed) => allowed === name));
  const withinPackages = known && ofPackages <= BUDGETS.packageModules;
  const allowed = `${BUDGETS.packageModules} of ${BUDGETS.packages.join(", ")}`;
  say("modules, packages", `${ofPackages} of ${packages.join(", ")}`, allowed, withinPackages);
  say("modules, Node", String(builtIn), String(BUDGETS.builtInModules), builtIn <= BUDGETS.builtInModules);
  say("start to ready", `${readyMs.toFixed(0)} ms`, `${BUDGETS.readyMs} ms`, readyMs <= BUDGETS.readyMs);

  const apps = [
    await startAnswering(lab.folder, [{ host: lab.app, port: HTTP }]),
    await startIperf({ host: lab.app, port: BULK }),
  ];
  const ends = [(await start(lab, "app")).program, (await start(lab, "client")).program];
  await observe(SETTLE_MS);
  sayMemory("idle", larger(ends), BUDGETS.idleMiB);

  await probe(lab.app);
  const probes = await probe(lab.client);
  await observe(SETTLE_MS);
  sayMemory(`after ${probes} probes`, larger(ends), BUDGETS.probedMiB);

  await load(lab);
  await observe(SETTLE_MS);
  sayMemory("after load", larger(ends), BUDGETS.loadedMiB);
  for (const program of [...ends, ...apps]) await program.stop();
}

const folder = mkdtempSync(join(tmpdir(), "culvert-memory-"));
const subnet = await reserveSubnet();
try {
  mkdirSync(join(folder, "mesh"));
  await main({ folder, app: subnet.address(1), client: subnet.address(2) });
  if (exceeded && process.argv.includes("--strict")) process.exitCode = 1;
} finally {
  await subnet.release();
  rmSync(folder, { recursive: true });
}
