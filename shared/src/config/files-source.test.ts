import assert from "node:assert/strict";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { until } from "@culvert/test/support/until.ts";
import { systemClock } from "../net/clock.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { parseIp, type Ip } from "../net/ip.ts";
import { readFolder } from "./folder.ts";
import { openResourceFolder } from "./files-source.ts";
import type { ResourceEvent, ResourceSource } from "./resource-source.ts";
import type { Lookup } from "./name-resolver.ts";
import { formatProblem } from "./problem-text.ts";

const entry = (name: string, address = "10.0.0.1"): string =>
  `apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: ${name}}\nspec: {address: ${address}}\n`;

const BAD = "apiVersion: v1\nkind: Service\nmetadata: {name: Bad}\n";

async function folderFor(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "culvert-source-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Puts a file in its place whole, so that no read that happens to run sees it empty. */
async function put(file: string, text: string): Promise<void> {
  const written = join(dirname(file), `.${basename(file)}.tmp`);
  await writeFile(written, text);
  await rename(written, file);
}

/** A folder that is open, with what it has said. */
interface Opened {
  readonly source: ResourceSource;
  readonly events: ResourceEvent[];
  readonly clock: FakeClock;
}

async function open(context: TestContext, folder: string, lookup?: Lookup): Promise<Opened> {
  const events: ResourceEvent[] = [];
  const clock = new FakeClock();
  const source = await openResourceFolder({
    folder,
    clock,
    onEvent: (event) => events.push(event),
    ...(lookup === undefined ? {} : { lookup }),
  });
  assert.ok("get" in source, JSON.stringify(source));
  context.after(() => source.close());
  return { source, events, clock };
}

function names(source: ResourceSource): string[] {
  return [...source.get().directory.workloads()].map(({ name }) => name);
}

function kinds(events: readonly ResourceEvent[]): string[] {
  return events.map(({ kind }) => kind);
}

/** Waits for names of workloads to be these, moving a fake clock so that debounce and slow look fire. */
async function untilNames(source: ResourceSource, expected: readonly string[], clock?: FakeClock): Promise<void> {
  await until(`the workloads ${expected.join()}`, () => {
    clock?.advance(100);
    return names(source).join() === expected.join();
  });
}

describe("opening", () => {
  test("gives the first snapshot", async (context) => {
    const folder = await folderFor(context);
    await put(join(folder, "a.yaml"), `${entry("a")}---\napiVersion: apps/v1\nkind: Deployment\n`);
    const { source, events } = await open(context, folder);
    assert.deepEqual(names(source), ["a"]);
    assert.equal(source.get().version, 1);
    assert.equal(source.get().problems[0]?.severity, "not-understood");
    assert.deepEqual(kinds(events), ["swapped"]);
  });

  test("fails with every problem", async (context) => {
    const folder = await folderFor(context);
    await put(join(folder, "a.yaml"), `${BAD}---\n${entry("a")}---\n${entry("a")}`);
    const clock = new FakeClock();
    const problems = await openResourceFolder({ folder, clock, onEvent: () => undefined });
    assert.ok(!("get" in problems));
    assert.deepEqual(
      problems.map((problem) => formatProblem(problem).replace(`${folder}/`, "").replace(`${folder}/`, "")),
      [
        'a.yaml:3: metadata.name: expected a DNS name in lower case, found "Bad" (Service default/Bad)',
        "a.yaml:10: metadata.name: is there twice, first at a.yaml:5 (WorkloadEntry default/a)",
      ],
    );
    assert.equal(clock.pending, 0);
  });

  test("fails when there is no folder", async () => {
    const problems = await openResourceFolder({
      folder: "/nowhere/at/all",
      clock: new FakeClock(),
      onEvent: () => undefined,
    });
    assert.ok(!("get" in problems));
    assert.match(problems.map(formatProblem).join("\n"), /ENOENT/);
  });
});

test("a folder that loses all it had is no new state, a folder that has not begun is one", async (context) => {
  const folder = await folderFor(context);
  const { source, events, clock } = await open(context, folder);
  assert.deepEqual(names(source), []);
  await put(join(folder, "a.yaml"), entry("a"));
  await untilNames(source, ["a"], clock);

  await rm(join(folder, "a.yaml"));
  await source.reload();
  assert.deepEqual(names(source), ["a"]);
  const last = events.at(-1);
  assert.ok(last?.kind === "kept");
  assert.match(last.problems.map(formatProblem).join(), /: expected at least one resource, found none$/);

  await put(join(folder, "b.yaml"), entry("b"));
  await untilNames(source, ["b"], clock);
});

test("a change while the first names are awaited comes after them", async (context) => {
  const folder = await folderFor(context);
  await put(join(folder, "a.yaml"), entry("a", "slow.local"));
  const asked = Promise.withResolvers<void>();
  const lookup: Lookup = () => {
    asked.resolve();
    return new Promise(() => undefined);
  };
  const clock = new FakeClock();
  const opening = openResourceFolder({ folder, clock, onEvent: () => undefined, lookup });
  await asked.promise;
  const pending = clock.pending;
  await put(join(folder, "a.yaml"), entry("b"));
  await until("the event", () => clock.pending > pending);
  clock.advance(100);
  // As long as a second read would take that did not wait.
  for (let read = 0; read < 5; read += 1) await readFolder(folder);
  clock.advance(2_000);
  const source = await opening;
  assert.ok("get" in source);
  context.after(() => source.close());
  await untilNames(source, ["b"], clock);
});

describe("reload", () => {
  test("swaps whole, tells listeners, and does nothing when no byte has changed", async (context) => {
    const folder = await folderFor(context);
    await put(join(folder, "a.yaml"), entry("a"));
    const { source, events } = await open(context, folder);
    const heard: number[] = [];
    const stop = source.onChange(({ version }) => heard.push(version));
    const before = source.get();

    await put(join(folder, "b.yaml"), entry("b"));
    await source.reload();
    assert.deepEqual(names(source), ["a", "b"]);
    assert.deepEqual([...before.directory.workloads()].length, 1);
    assert.deepEqual(heard, [2]);

    await put(join(folder, "b.yaml"), entry("b"));
    await source.reload();
    assert.deepEqual(heard, [2]);

    stop();
    await rm(join(folder, "b.yaml"));
    await source.reload();
    assert.deepEqual(names(source), ["a"]);
    assert.deepEqual(heard, [2]);
    assert.deepEqual(kinds(events), ["swapped", "swapped", "swapped"]);
  });

  test("keeps the last good snapshot, and says so once per change", async (context) => {
    const folder = await folderFor(context);
    const file = join(folder, "a.yaml");
    await put(file, entry("a"));
    const { source, events } = await open(context, folder);
    const good = source.get();

    await put(file, BAD);
    await source.reload();
    await source.reload();
    assert.equal(source.get(), good);
    assert.deepEqual(kinds(events), ["swapped", "kept"]);

    await put(file, "a: [\n");
    await source.reload();
    await rm(folder, { recursive: true });
    await source.reload();
    await source.reload();
    assert.equal(source.get(), good);
    assert.deepEqual(kinds(events), ["swapped", "kept", "kept", "kept"]);

    await mkdir(folder);
    await put(file, entry("b"));
    await source.reload();
    assert.deepEqual(names(source), ["b"]);
    assert.equal(source.get().version, 2);

    await put(file, BAD);
    await source.reload();
    await put(file, entry("b"));
    await source.reload();
    assert.equal(source.get().version, 3);
    assert.deepEqual(kinds(events).slice(4), ["swapped", "kept", "swapped"]);
  });

  test("several at once are one or two reads, and each sees what was there when it was asked for", async (context) => {
    const folder = await folderFor(context);
    const { source } = await open(context, folder);
    for (let round = 1; round <= 5; round += 1) {
      await put(join(folder, `${round}.yaml`), entry(`w-${round}`, `10.0.0.${round}`));
      await Promise.all([source.reload(), source.reload(), source.reload()]);
      assert.equal(names(source).length, round);
    }
    assert.equal(source.get().version, 6);
  });
});

describe("watching", () => {
  test("a file that is renamed into place is seen by an event", async (context) => {
    const folder = await folderFor(context);
    await put(join(folder, "a.yaml"), entry("a"));
    const events: ResourceEvent[] = [];
    const source = await openResourceFolder({ folder, clock: systemClock, onEvent: (event) => events.push(event) });
    assert.ok("get" in source);
    context.after(() => source.close());
    await put(join(folder, "a.yaml"), entry("b"));
    await untilNames(source, ["b"]);
    await put(join(folder, "a.yaml"), BAD);
    await until("the bad file", () => kinds(events).includes("kept"));
    await put(join(folder, "a.yaml"), entry("c"));
    await untilNames(source, ["c"]);
  });

  test("the swap of a mounted ConfigMap is seen", async (context) => {
    const folder = await folderFor(context);
    for (const version of ["1", "2"]) {
      await mkdir(join(folder, `..v${version}`));
      await writeFile(join(folder, `..v${version}`, "mesh.yaml"), entry(`v${version}`));
    }
    await symlink("..v1", join(folder, "..data"));
    await symlink("..data/mesh.yaml", join(folder, "mesh.yaml"));
    const { source, clock } = await open(context, folder);
    assert.deepEqual(names(source), ["v1"]);
    await symlink("..v2", join(folder, "..data_tmp"));
    await rename(join(folder, "..data_tmp"), join(folder, "..data"));
    await untilNames(source, ["v2"], clock);
  });

  test("new folders are watched, and a folder that took the place of another", async (context) => {
    const parent = await folderFor(context);
    const folder = join(parent, "mesh");
    await mkdir(folder);
    const { source, clock } = await open(context, folder);
    await mkdir(join(folder, "sub"));
    await put(join(folder, "sub", "a.yaml"), entry("a"));
    await untilNames(source, ["a"], clock);
    await put(join(folder, "sub", "a.yaml"), entry("b"));
    await untilNames(source, ["b"], clock);

    await mkdir(join(parent, "next"));
    await put(join(parent, "next", "a.yaml"), entry("c"));
    await rename(folder, join(parent, "old"));
    await rename(join(parent, "next"), folder);
    await untilNames(source, ["c"], clock);
  });

  test("after close nothing happens any more", async (context) => {
    const folder = await folderFor(context);
    const { source, events, clock } = await open(context, folder);
    source.close();
    assert.equal(clock.pending, 0);
    await put(join(folder, "a.yaml"), entry("a"));
    await source.reload();
    assert.deepEqual(names(source), []);
    assert.deepEqual(kinds(events), ["swapped"]);
  });
});

describe("names of workloads", () => {
  test("are resolved before the first snapshot, and a change of theirs makes a new one", async (context) => {
    const folder = await folderFor(context);
    await put(join(folder, "a.yaml"), `${entry("a", "a.local")}---\n${entry("b", "b.local")}`);
    let answer = "10.0.0.1";
    const lookup: Lookup = (host) => {
      const ip = parseIp(answer);
      return host === "a.local" && ip !== undefined ? Promise.resolve([ip]) : Promise.reject(new Error("ENOTFOUND"));
    };
    const { source, events, clock } = await open(context, folder, lookup);
    const addresses = (): readonly Ip[] => source.get().directory.workload("default/a")?.addresses ?? [];
    const untilAddress = (expected: string): Promise<unknown> =>
      until(`the address ${expected}`, () => {
        clock.advance(100);
        return addresses()[0] === expected;
      });
    assert.deepEqual(addresses(), ["10.0.0.1"]);
    assert.deepEqual(source.get().directory.workload("default/b")?.addresses, []);
    assert.deepEqual(kinds(events), ["name-unresolved", "swapped"]);

    answer = "10.0.0.2";
    await untilAddress("10.0.0.2");
    assert.equal(source.get().version, 2);

    // A bad folder does not stop the names of the good snapshot.
    await put(join(folder, "a.yaml"), BAD);
    await source.reload();
    answer = "10.0.0.3";
    await untilAddress("10.0.0.3");
  });

  test("those of the state in use stay until the next one is", async (context) => {
    const folder = await folderFor(context);
    const file = join(folder, "a.yaml");
    await put(file, `${entry("old", "old.local")}---\n${entry("kept", "kept.local")}`);
    const asked: string[] = [];
    const late = Promise.withResolvers<readonly Ip[]>();
    const [first, second] = [parseIp("10.0.0.1"), parseIp("10.0.0.2")].filter((ip) => ip !== undefined);
    assert.ok(first !== undefined && second !== undefined);
    const lookup: Lookup = (host) => {
      const isFirst = !asked.includes(host);
      asked.push(host);
      if (host === "kept.local" && !isFirst) return late.promise;
      return host === "new.local" ? new Promise(() => undefined) : Promise.resolve([first]);
    };
    const { source, clock } = await open(context, folder, lookup);
    await until("the second question for a name", () => {
      clock.advance(1_000);
      return asked.filter((host) => host === "kept.local").length === 2;
    });

    await put(file, `${entry("kept", "kept.local")}---\n${entry("new", "new.local")}`);
    const reloaded = source.reload();
    await until("the new name", () => asked.includes("new.local"));
    late.resolve([second]);
    await until("the second address", () => source.get().version === 2);
    assert.deepEqual(source.get().directory.workload("default/kept")?.addresses, [second]);
    assert.deepEqual(source.get().directory.workload("default/old")?.addresses, [first]);
    clock.advance(2_000);
    await reloaded;
    assert.deepEqual(names(source), ["kept", "new"]);
  });
});
