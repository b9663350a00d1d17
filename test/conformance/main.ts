// Root. `pnpm conformance [WORD…] [--echo own|istio] [--output FILE] [--organization NAME] [--url URL]
// [--contact NAME]`: runs the conformance cases (those whose name has a WORD) with both echo apps, prints what
// passed and what did not, and writes a ConformanceReport. Exit code 0: all passed or are known failures; 1: not; 2: cannot run here.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { buildVersion } from "@culvert/shared/config/version.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { stringify } from "yaml";
import { REPOSITORY } from "../support/env.ts";
import { missing } from "../support/needs.ts";
import { readCases, type Case } from "./case.ts";
import { KNOWN_FAILURES } from "./known-failures.ts";
import { startConformanceLab, type EchoKind } from "./lab.ts";
import { byFeature, conformanceReport, type Run } from "./report.ts";
import { conformanceNeeds, fitsEcho, runCase, type Outcome } from "./runner.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    organization: { type: "string", default: "culvert" },
    url: { type: "string", default: "not published" },
    contact: { type: "string", multiple: true, default: ["not published"] },
    echo: { type: "string", multiple: true, default: ["own", "istio"] },
    output: { type: "string", default: join(REPOSITORY, ".cache/conformance-report.yaml") },
  },
});
const lacking = missing(conformanceNeeds("istio"));
if (lacking.length > 0) {
  process.stderr.write(`needs ${lacking.join(" and ")}; .ci/run installs what is missing\n`);
  process.exit(2);
}

const cases = [...readCases("mesh"), ...readCases("gateway")].filter(
  ({ name }) => positionals.length === 0 || positionals.some((word) => name.toLowerCase().includes(word.toLowerCase())),
);
const began = systemClock.monotonic();
const found = new Map<Case, Outcome>();
for (const kind of ["own", "istio"] as const) if (values.echo.includes(kind)) await runAll(kind);
const runs: Run[] = cases.map((of) => ({ of, outcome: found.get(of) }));

for (const { feature, passed, all } of byFeature(runs)) print(`${passed}/${all}`.padStart(7), feature);
const mode = "uproxy and waypoint in network namespaces";
const { organization, url, contact } = values;
const report = conformanceReport(runs, {
  organization,
  url,
  contact,
  version: buildVersion().version,
  date: new Date(systemClock.now()).toISOString(),
  mode,
});
writeFileSync(values.output, stringify(report));
for (const { name, summary } of report.profiles) print(`${name}:`, summary);
const failed = runs.filter(({ outcome }) => outcome === undefined || outcome.problems.length > 0);
const unexpected = failed.filter(({ of }) => KNOWN_FAILURES[of.name] === undefined);
const seconds = Math.round((systemClock.monotonic() - began) / 1_000);
print(`${runs.length - failed.length} of ${runs.length} cases passed in ${seconds} s; the report is ${values.output}`);
process.exitCode = unexpected.length === 0 ? 0 : 1;

/** Runs all cases with one kind of echo app; a case passes when it passes with both. */
async function runAll(kind: EchoKind): Promise<void> {
  print(`with the echo app ${kind}`);
  const lab = await startConformanceLab(kind);
  try {
    for (const one of cases.filter((candidate) => fitsEcho(candidate, kind))) {
      const outcome = await runCase(lab, one);
      const reason = KNOWN_FAILURES[one.name];
      const verdict =
        outcome.problems.length === 0 ? "ok" : reason === undefined ? "FAILED" : `known failure: ${reason}`;
      print(" ", `${one.name}: ${verdict}`);
      for (const problem of outcome.problems) print("   ", problem);
      found.set(one, { name: one.name, problems: [...(found.get(one)?.problems ?? []), ...outcome.problems] });
    }
  } finally {
    await lab.stop();
  }
}

function print(...words: readonly string[]): void {
  process.stdout.write(`${words.join(" ")}\n`);
}
