import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { systemClock } from "../net/clock.ts";
import { descriptorWriter } from "./stdout.ts";

/** A process that logs 4 MiB to a stdout which nobody reads, and says on stderr how its event loop fared. */
const FLOOD = `
import { systemClock } from ${JSON.stringify(import.meta.resolve("../net/clock.ts"))};
import { LineWriter } from ${JSON.stringify(import.meta.resolve("./line-writer.ts"))};
import { stdoutWriter } from ${JSON.stringify(import.meta.resolve("./stdout.ts"))};
const writer = new LineWriter(stdoutWriter(), systemClock);
let longest = 0;
let last = systemClock.monotonic();
systemClock.every(5, () => {
  const now = systemClock.monotonic();
  longest = Math.max(longest, now - last);
  last = now;
});
for (let index = 0; index < 40_000; index += 1) writer.line("x".repeat(99));
await new Promise((resolve) => setTimeout(resolve, 300));
for (let index = 0; index < 40_000; index += 1) writer.line("x".repeat(99));
await writer.flush(100);
process.stderr.write(JSON.stringify({ dropped: writer.dropped, longest }));
process.exit(0);
`;

it("neither waits for a reader of stdout that has stopped, nor is kept from ending by it", async () => {
  const child = spawn(process.execPath, ["--input-type=module", "-e", FLOOD], { stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const [code] = (await once(child, "exit")) as [number];
  child.stdout.destroy();
  assert.equal(code, 0, said);
  const { dropped, longest } = JSON.parse(said) as { dropped: number; longest: number };
  assert(dropped > 50_000, `dropped ${dropped}`);
  assert(longest < 1000, `the event loop stood still for ${longest} ms`);
});

it("survives a reader that has gone", async () => {
  const child = spawn(process.execPath, ["--input-type=module", "-e", FLOOD], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  let said = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const [code] = (await once(child, "exit")) as [number];
  assert.equal(code, 0, said);
});

it("writes files through the thread pool, whole and in order", async () => {
  const folder = mkdtempSync(join(tmpdir(), "culvert-stdout-"));
  const path = join(folder, "log");
  const descriptor = openSync(path, "w");
  try {
    const write = descriptorWriter(descriptor, systemClock);
    const text = "é".repeat(1_000_000);
    await new Promise<void>((resolve) => write(text, () => resolve()));
    await new Promise<void>((resolve) => write("end\n", () => resolve()));
    assert.equal(readFileSync(path, "utf8"), `${text}end\n`);
  } finally {
    closeSync(descriptor);
    rmSync(folder, { recursive: true });
  }
});

it("hands on the error of a descriptor that cannot be written", async () => {
  const descriptor = openSync("/dev/null", "r");
  const error = await new Promise<Error | undefined>((resolve) =>
    descriptorWriter(descriptor, systemClock)("x", resolve),
  );
  closeSync(descriptor);
  assert.match(String(error), /EBADF/);
});

it("counts a full disk as an error, not as an end", async () => {
  const descriptor = openSync("/dev/full", "w");
  const error = await new Promise<Error | undefined>((resolve) =>
    descriptorWriter(descriptor, systemClock)("x", resolve),
  );
  closeSync(descriptor);
  assert.match(String(error), /ENOSPC/);
});
