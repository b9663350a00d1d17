import { equal } from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { SilenceWatch } from "./silence.ts";
import { observe } from "./until.ts";

const ALLOWED_MS = 50;

const begun = (file: string) => ({ type: "test:dequeue", data: { name: file, file } });

test("kills a file that spins and whatever it has started, by name", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-silence-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "spins.test.mjs");
  writeFileSync(
    file,
    `import { spawn } from "node:child_process";
     console.log(spawn("sleep", ["300"], { stdio: "inherit" }).pid);
     setTimeout(() => { for (;;); }, 10);`,
  );
  const killed: string[] = [];
  const watch = new SilenceWatch(ALLOWED_MS, (name) => void killed.push(name));
  context.after(() => watch.close());
  // Its output ends only when the process that it has started is gone, too: that is what held up runs.
  const spins = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
  context.after(() => spins.kill("SIGKILL"));
  watch.heard(begun(file));
  spins.stdout.resume();
  const [[, signal]] = await Promise.all([once(spins, "exit"), once(spins.stdout, "end")]);
  equal(signal, "SIGKILL");
  equal(killed.join(), file);
});

test("leaves alone what has ended, and what it was not told of", async (context) => {
  const killed: string[] = [];
  const watch = new SilenceWatch(0, (name) => void killed.push(name));
  context.after(() => watch.close());
  watch.heard(begun(join(tmpdir(), "ended.test.mjs")));
  watch.heard({ ...begun(join(import.meta.dirname, "silence.test.ts")), type: "test:start" });
  // Longer than the watch waits between two looks.
  await observe(1_500);
  equal(killed.length, 0);
});

test("hears of a file by tests that another one declares", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-silence-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "waits.test.mjs");
  writeFileSync(file, "setInterval(() => {}, 1000);");
  const waits = spawn(process.execPath, [file], { stdio: "ignore" });
  context.after(() => waits.kill("SIGKILL"));
  const killed: string[] = [];
  const watch = new SilenceWatch(2_000, (name) => void killed.push(name));
  context.after(() => watch.close());
  watch.heard(begun(file));
  for (let turn = 0; turn < 80; turn += 1) {
    await observe(50);
    watch.heard({ type: "test:pass", data: { name: "one", file: join(folder, "bodies.mjs"), entryFile: file } });
  }
  equal(killed.length, 0);
  await once(waits, "exit");
  equal(killed.join(), file);
});
