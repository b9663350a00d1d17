// Root. `node poison-process.ts`: swallows all poisons, one after another, in a folder that is good otherwise, as a waypoint would. Prints
// a line of JSON for each: what came of it, and what it cost. A process of its own, so that its memory is nobody else's.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { openResourceFolder } from "@culvert/shared/config/files-source.ts";
import { formatProblem } from "@culvert/shared/config/problem-text.ts";
import type { ResourceEvent } from "@culvert/shared/config/resource-source.ts";
import { routing } from "@culvert/shared/config/routing/routing.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { numbers, POISONS } from "./poisons.ts";
import type { Swallowed } from "./swallowed.ts";

const GOOD = `apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
`;

/** Most memory since the mark was moved down, MiB. */
async function mostMemory(): Promise<number> {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(await readFile("/proc/self/status", "utf8"))?.[1]) / 1024;
}

const folder = await mkdtemp(join(tmpdir(), "culvert-poison-"));
await writeFile(join(folder, "good.yaml"), GOOD);
const events: ResourceEvent[] = [];
const source = await openResourceFolder({
  folder,
  clock: new FakeClock(),
  onEvent: (event) => events.push(event),
  routing,
});
if (!("get" in source)) throw new Error(JSON.stringify(source));
const quiet = await mostMemory();

// What is measured is the product, not how the runtime compiles it.
for (let round = 0; round < 4; round++) {
  await writeFile(
    join(folder, "warm.yaml"),
    `apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {${numbers(9_000 + round)}}`,
  );
  await source.reload();
}
await rm(join(folder, "warm.yaml"));
await source.reload();

for (const { name, as, text } of POISONS) {
  const file = join(folder, `poison.${as}`);
  await writeFile(file, text());
  const before = source.get();
  events.length = 0;
  globalThis.gc?.();
  await writeFile("/proc/self/clear_refs", "5");
  const start = process.cpuUsage();
  await source.reload();
  const { user, system } = process.cpuUsage(start);
  const event = events.at(-1);
  const problems = event?.kind === "swapped" ? event.snapshot.problems : event?.kind === "kept" ? event.problems : [];
  const swallowed: Swallowed = {
    name,
    event: event?.kind,
    isSame: source.get() === before,
    versions: source.get().version - before.version,
    problem: problems[0] === undefined ? "" : formatProblem(problems[0]).replace(`${file}:`, ""),
    isPolluted: "polluted" in {},
    cpuMs: (user + system) / 1_000,
    memoryMiB: (await mostMemory()) - quiet,
  };
  process.stdout.write(`${JSON.stringify(swallowed)}\n`);
  await rm(file);
  await source.reload();
}
source.close();
await rm(folder, { recursive: true });
