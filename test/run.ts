// Root. `pnpm test [GROUP…] [TEXT…]`: runs the tests of the whole repository with Node's own runner. Groups are `unit` (the tests
// beside the sources) and the folders of `test/` (house, e2e, hostile …; `images` runs only when it is named); any other word keeps
// the files whose path has it. `--again`: at most two files that have failed run once more, each for itself; what passes then is told as
// unsteady and counts as passed.
// Tests that were skipped are listed with their reasons above the runner's closing lines.
import { globSync } from "node:fs";
import { availableParallelism } from "node:os";
import { relative } from "node:path";
import process from "node:process";
import { run } from "node:test";
import { spec, type TestEvent } from "node:test/reporters";
import { REPOSITORY } from "./support/env.ts";
import { SilenceWatch } from "./support/silence.ts";

/** No test takes this long. */
const TEST_DEADLINE_MS = 120_000;
/** Nor a file of those that want the machine for themselves. */
const APART_DEADLINE_MS = 600_000;
/** No file that works says nothing for this long: it is killed, and fails by name instead of stopping everything. */
const SILENCE_MS = 150_000;

/**
 * So many files may fail beside others and pass alone: one of five thousand tests that meets a moment of a busy machine must not hold up
 * a change that has nothing to do with it, and must not be hidden either. More of them are a fault of the change, or of the machine.
 */
const MOST_UNSTEADY = 2;

/** Groups that run when they are named, because each of them wants the machine for itself. */
const APART = new Set(["images"]);

/** The group of a test file: `unit`, or its folder under `test/`. */
function groupOf(path: string): string {
  return /^test\/([^/]+)\//.exec(path)?.[1] ?? "unit";
}

/** Unit tests first: they are quick and say most precisely what is wrong. */
function rank(path: string): string {
  return `${groupOf(path) === "unit" ? 0 : 1} ${path}`;
}

/** All test files. */
function testFiles(): string[] {
  const everything = globSync("{shared,uproxy,waypoint,deploy,test}/**/*.test.ts", {
    cwd: REPOSITORY,
    exclude: (path) => path.includes("node_modules"),
  });
  return everything.toSorted((a, b) => rank(a).localeCompare(rank(b)));
}

/** Keeps the files of the named groups, or all, and of those the ones that hold any of the other words. */
function chosen(files: readonly string[], words: readonly string[]): string[] {
  const groups = new Set(files.map(groupOf));
  const wanted = words.filter((word) => groups.has(word));
  const texts = words.filter((word) => !groups.has(word));
  return files
    .filter((file) => (wanted.length === 0 ? !APART.has(groupOf(file)) : wanted.includes(groupOf(file))))
    .filter((file) => texts.length === 0 || texts.some((text) => file.includes(text)));
}

/** Passes the runner's events on, ends files that hang, notes those that fail and, before the totals, says what was skipped and why. */
async function* watched(events: AsyncIterable<TestEvent>, failed: Set<string>): AsyncGenerator<TestEvent> {
  /** How many of each. */
  const skipped = new Map<string, number>();
  let told = false;
  const watch = new SilenceWatch(SILENCE_MS, (file, silentMs) => {
    process.stderr.write(`${relative(REPOSITORY, file)}: killed after ${Math.round(silentMs / 1_000)} s of silence\n`);
  });
  for await (const event of events) {
    watch.heard(event);
    if (event.type === "test:fail") failed.add(relative(REPOSITORY, event.data.file ?? event.data.name));
    if (event.type === "test:pass" && event.data.skip !== undefined && event.data.skip !== false) {
      const text = `skipped: ${event.data.name}: ${event.data.skip === true ? "no reason given" : event.data.skip}`;
      skipped.set(text, (skipped.get(text) ?? 0) + 1);
    }
    if (!told && event.type === "test:diagnostic" && /^tests \d+$/.test(event.data.message)) {
      told = true;
      for (const [text, times] of skipped) {
        const message = times === 1 ? text : `${text} (${times} times)`;
        yield { type: "test:diagnostic", data: { ...event.data, message } };
      }
    }
    yield event;
  }
  watch.close();
}

/** Runs files, so many at a time; those of which something has failed. */
async function failing(paths: readonly string[], concurrency: number): Promise<Set<string>> {
  const failed = new Set<string>();
  const reporter = new spec();
  reporter.on("data", (text: string | Buffer) => void process.stdout.write(text));
  const events = run({
    cwd: REPOSITORY,
    files: paths.map((path) => `${REPOSITORY}/${path}`),
    concurrency,
    timeout: paths.some((path) => APART.has(groupOf(path))) ? APART_DEADLINE_MS : TEST_DEADLINE_MS,
  });
  for await (const event of watched(events, failed)) reporter.write(event);
  reporter.end();
  return failed;
}

const words = process.argv.slice(2).filter((word) => word !== "--again");
const mayFailOnce = process.argv.includes("--again");
const files = chosen(testFiles(), words);
if (files.length === 0) {
  const groups = [...new Set(testFiles().map(groupOf))].join(", ");
  process.stderr.write(`no test file matches ${words.join(" ")}; groups are ${groups}\n`);
  process.exit(2);
}

let failed = await failing(files, availableParallelism());
if (mayFailOnce && failed.size > 0 && failed.size <= MOST_UNSTEADY) {
  const unsteady = [...failed].join(", ");
  process.stdout.write(`\nonce more, alone: ${unsteady}\n`);
  failed = await failing([...failed], 1);
  if (failed.size === 0) process.stdout.write(`\nunsteady, failed once and passed alone: ${unsteady}\n`);
}
process.exitCode = failed.size > 0 ? 1 : 0;
