// Root. `pnpm bench pair|waypoint|authority|config-stream|handshakes|architectures|on-demand|tenants|in-process [--short] [--only NAME,…] [--rounds N] [--json FILE] [--strict]`: measures
// Culvert beside others in one run and prints tables and the ratios that have targets.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { mintIdentities } from "../support/identities.ts";
import { reserveSubnet } from "../support/loopback.ts";
import type { Program } from "../support/process.ts";
import { runProgram } from "../support/programs.ts";
import { startAnswering, startGrpc, startIperf } from "./apps.ts";
import { FULL, SHORT, type Effort } from "./effort.ts";
import { PAIR_SUBJECTS, PAIR_TABLES, PAIR_TARGETS, pairMeasurements } from "./pair.ts";
import { judge, table, verdictLines, type Column, type Target } from "./report.ts";
import { IN_PROCESS_SUBJECTS, IN_PROCESS_TABLES, inProcessMeasurements } from "./in-process.ts";
import { interleave, type Measurement, type Results } from "./rounds.ts";
import type { Place, Subject } from "./subject.ts";
import { WAYPOINT_SUBJECTS, WAYPOINT_TABLES, WAYPOINT_TARGETS, waypointMeasurements } from "./waypoint.ts";

const APP_PORT = 8080;
const HTTP2_PORT = 8081;
const GRPC_PORT = 7070;
const BULK_PORT = 5201;
const ADDRESSES_PER_SUBJECT = 8;
const ACCOUNTS = ["app", "client", "waypoint"] as const;

interface Bench {
  readonly subjects: readonly Subject[];
  readonly measurements: (effort: Effort) => Measurement[];
  readonly tables: readonly { readonly title: string; readonly columns: readonly Column[] }[];
  readonly targets: readonly Target[];
  /** Whether its subjects bring the applications with them. */
  readonly hasApps?: boolean;
}

const BENCHES: ReadonlyMap<string, Bench> = new Map([
  ["pair", { subjects: PAIR_SUBJECTS, measurements: pairMeasurements, tables: PAIR_TABLES, targets: PAIR_TARGETS }],
  [
    "waypoint",
    {
      subjects: WAYPOINT_SUBJECTS,
      measurements: waypointMeasurements,
      tables: WAYPOINT_TABLES,
      targets: WAYPOINT_TARGETS,
    },
  ],
  [
    "in-process",
    {
      subjects: IN_PROCESS_SUBJECTS,
      measurements: inProcessMeasurements,
      tables: IN_PROCESS_TABLES,
      targets: [],
      hasApps: true,
    },
  ],
]);

function usage(problem: string): never {
  process.stderr.write(
    `${problem}\nusage: pnpm bench ${[...BENCHES.keys(), "authority", "config-stream", "handshakes", "architectures", "on-demand", "tenants"].join("|")} [--short] [--only NAME,…] [--rounds N] [--json FILE] [--strict]\n`,
  );
  process.exit(2);
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** What the load tools ask for at the end of each way. */
async function startApps(
  subjects: readonly Subject[],
  appHost: (subject: Subject) => string,
  folder: string,
): Promise<Program[]> {
  return [
    await startAnswering(
      folder,
      subjects.map((subject) => ({ host: appHost(subject), port: APP_PORT })),
      subjects.map((subject) => ({ host: appHost(subject), port: HTTP2_PORT })),
    ),
    await startGrpc(subjects.map((subject) => ({ host: appHost(subject), port: GRPC_PORT }))),
    ...(await Promise.all(subjects.map((subject) => startIperf({ host: appHost(subject), port: BULK_PORT })))),
  ];
}

async function measure(bench: Bench, subjects: readonly Subject[], effort: Effort, folder: string): Promise<Results> {
  // The first start after a change of the sources compiles them; that is not what is measured.
  for (const program of ["uproxy", "waypoint"] as const) await runProgram(program, ["--version"]);
  const subnet = await reserveSubnet();
  const identities = join(folder, "identities");
  await mintIdentities(identities, ACCOUNTS);
  const base = (subject: Subject): number => 1 + subjects.indexOf(subject) * ADDRESSES_PER_SUBJECT;
  const appHost = (subject: Subject): string => subnet.address(base(subject));
  const apps = bench.hasApps === true ? [] : await startApps(subjects, appHost, folder);
  const place = (subject: Subject, round: number): Place => {
    const own = join(folder, `${subject.name.replaceAll(/\W+/g, "-")}-${round}`);
    mkdirSync(own, { recursive: true });
    return {
      folder: own,
      identities,
      address: (index) => subnet.address(base(subject) + 1 + index),
      app: { host: appHost(subject), port: APP_PORT },
      http2: { host: appHost(subject), port: HTTP2_PORT },
      grpc: { host: appHost(subject), port: GRPC_PORT },
      bulk: { host: appHost(subject), port: BULK_PORT },
    };
  };
  try {
    return await interleave({
      subjects,
      measurements: bench.measurements(effort),
      rounds: effort.rounds,
      place,
      say,
    });
  } finally {
    await Promise.all(apps.map((app) => app.stop()));
    await subnet.release();
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    short: { type: "boolean", default: false },
    strict: { type: "boolean", default: false },
    only: { type: "string" },
    rounds: { type: "string" },
    json: { type: "string" },
  },
});
if (positionals[0] === "authority") {
  // Nothing to compare it with, and nothing that rounds would even out.
  const { benchAuthority } = await import("./authority.ts");
  await benchAuthority(values.short);
  process.exit();
}
if (positionals[0] === "config-stream") {
  const { benchConfigStream } = await import("./config-stream.ts");
  await benchConfigStream(values.short);
  process.exit();
}
if (positionals[0] === "handshakes") {
  const { benchHandshakes } = await import("./handshakes.ts");
  await benchHandshakes(values.short);
  process.exit();
}
if (positionals[0] === "architectures") {
  const { benchArchitectures } = await import("./architectures.ts");
  await benchArchitectures(values.short);
  process.exit();
}
if (positionals[0] === "on-demand") {
  const { benchOnDemand } = await import("./on-demand.ts");
  await benchOnDemand(values.short);
  process.exit();
}
if (positionals[0] === "tenants") {
  const { benchTenants } = await import("./tenants.ts");
  await benchTenants(values.short);
  process.exit();
}
const bench = BENCHES.get(positionals[0] ?? "") ?? usage("which bench?");
const wanted = values.only?.split(",");
const subjects = bench.subjects.filter(({ name }) => wanted === undefined || wanted.includes(name));
if (subjects.length === 0) usage(`no such subject; there are: ${bench.subjects.map(({ name }) => name).join(", ")}`);
const basic = values.short ? SHORT : FULL;
const effort = { ...basic, rounds: values.rounds === undefined ? basic.rounds : Number(values.rounds) };

const folder = mkdtempSync(join(tmpdir(), "culvert-bench-"));
try {
  const results = await measure(bench, subjects, effort, folder);
  const verdicts = judge(results, bench.targets);
  const legend = subjects.map(({ name, about }) => `${name}: ${about}`).join("\n");
  const tables = bench.tables.map(({ title, columns }) => table(title, results, columns));
  const header = `Node ${process.version}, medians of ${effort.rounds} interleaved round${effort.rounds === 1 ? "" : "s"}`;
  process.stdout.write(`\n${[header, legend, ...tables, verdictLines(verdicts)].filter(Boolean).join("\n\n")}\n`);
  if (values.json !== undefined) {
    const plain = Object.fromEntries([...results].map(([subject, figures]) => [subject, Object.fromEntries(figures)]));
    writeFileSync(values.json, `${JSON.stringify({ effort, results: plain }, undefined, 2)}\n`);
  }
  if (values.strict && verdicts.some(({ met }) => !met)) process.exitCode = 1;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
