// A folder with a last good snapshot beside it: what is served when the folder cannot be used at the start.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { until } from "@culvert/test/support/until.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { openResourceFolder } from "./files-source.ts";
import type { ResourceEvent, ResourceSource } from "./resource-source.ts";
import { packFile } from "./last-good-format.ts";
import { writeLastGood } from "./last-good.ts";
import { loadDocuments } from "./load.ts";
import { formatProblem } from "./problem-text.ts";

const ENTRY =
  "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: one}\nspec: {address: 10.0.0.1}\n";
const BAD = "apiVersion: v1\nkind: Service\nmetadata: {name: Bad}\n";

async function folderFor(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "culvert-restored-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

function names(source: ResourceSource): string[] {
  return [...source.get().directory.workloads()].map(({ name }) => name);
}

function kinds(events: readonly ResourceEvent[]): string[] {
  return events.map(({ kind }) => kind);
}

async function openWith(context: TestContext, folder: string, lastGood: string) {
  const events: ResourceEvent[] = [];
  const clock = new FakeClock();
  const source = await openResourceFolder({
    folder,
    lastGood,
    clock,
    onEvent: (event) => events.push(event),
  });
  if ("get" in source) context.after(() => source.close());
  return { source, events, clock };
}

async function saved(context: TestContext, text: string): Promise<{ folder: string; lastGood: string }> {
  const folder = await folderFor(context);
  const lastGood = join(await folderFor(context), "snapshot");
  await writeFile(join(folder, "a.yaml"), text);
  const first = await openWith(context, folder, lastGood);
  assert.ok("get" in first.source);
  assert.equal(first.source.isRestored, false);
  await until("the snapshot to be saved", async () => {
    first.clock.advance(100);
    return readFile(lastGood).catch(() => undefined);
  });
  first.source.close();
  return { folder, lastGood };
}

describe("the last good snapshot", () => {
  test("is served when the folder is gone, until it comes back", async (context) => {
    const { folder, lastGood } = await saved(context, ENTRY);
    await rm(folder, { recursive: true });
    const { source, events, clock } = await openWith(context, folder, lastGood);
    assert.ok("get" in source, JSON.stringify(source));
    assert.deepEqual(names(source), ["one"]);
    assert.deepEqual(kinds(events), ["swapped", "restored"]);
    assert.equal(source.isRestored, true);
    assert.ok(source.asOf >= new FakeClock().now());
    await mkdir(folder);
    await writeFile(join(folder, "a.yaml"), ENTRY);
    await until("the folder to be taken", () => {
      clock.advance(1_000);
      return !source.isRestored;
    });
    assert.deepEqual(names(source), ["one"]);
  });

  test("is served when the folder has errors, and says which", async (context) => {
    const { folder, lastGood } = await saved(context, ENTRY);
    await writeFile(join(folder, "b.yaml"), BAD);
    const { source, events } = await openWith(context, folder, lastGood);
    assert.ok("get" in source);
    const last = events.at(-1);
    assert.ok(last?.kind === "restored" && last.problems.length > 0);
  });

  test("that cannot be used leaves the folder's problems, with its own beside them", async (context) => {
    const folder = await folderFor(context);
    const lastGood = join(folder, ".snapshot");
    await writeFile(lastGood, "x".repeat(200), { mode: 0o600 });
    await writeFile(join(folder, "a.yaml"), BAD);
    const { source } = await openWith(context, folder, lastGood);
    assert.ok(!("get" in source));
    assert.match(source.map(formatProblem).join("\n"), /last good snapshot.*is no snapshot of Culvert/);
  });

  test("holds what another version would not understand: refused, as in a file", async (context) => {
    const folder = await folderFor(context);
    const lastGood = join(folder, ".snapshot");
    const tree = [...loadDocuments("a.yaml", Buffer.from(BAD))].map((loaded) =>
      "node" in loaded ? [loaded.node] : [],
    );
    assert.equal(await writeLastGood(lastGood, 1, [packFile("a.yaml", tree.flat())]), undefined);
    const { source } = await openWith(context, join(folder, "missing"), lastGood);
    assert.ok(!("get" in source));
    assert.match(source.map(formatProblem).join("\n"), /errors in what it holds, the first: a\.yaml:3/);
  });

  test("that cannot be saved is told, and nothing else changes", async (context) => {
    const folder = await folderFor(context);
    await writeFile(join(folder, "a.yaml"), ENTRY);
    const { source, events, clock } = await openWith(context, folder, "/dev/null/snapshot");
    assert.ok("get" in source);
    await until("the failure to be told", () => {
      clock.advance(100);
      return kinds(events).includes("not-saved");
    });
    assert.deepEqual(names(source), ["one"]);
  });
});
