// Hostile, rows C1 and C3: a folder of resources into which somebody puts poison. The state in use stays, or the one resource fails closed;
// the message names line and field; and it costs what its size allows.
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import process from "node:process";
import { join } from "node:path";
import { loadDocuments } from "@culvert/shared/config/load.ts";
import { REPOSITORY } from "../support/env.ts";
import { POISONS } from "../support/poisons.ts";
import { run } from "../support/process.ts";
import type { Swallowed } from "../support/swallowed.ts";

/**
 * What one file may cost. The worst of them take 0.1 s on a quiet machine once the runtime has compiled the parser, and 60 MiB with all
 * that those before them have left to the collector.
 */
const MOST_CPU_MS = 2_000;
const MOST_MEMORY_MIB = 96;
/** There is a pause after each few documents. */
const MOST_CPU_OF_DOCUMENTS_MS = 6_000;

const found = new Map<string, Swallowed>();

before(async () => {
  // The semi-space is that of the programs.
  const flags = ["--max-semi-space-size=4", "--expose-gc"];
  const { code, stdout, stderr } = await run(process.execPath, [
    ...flags,
    join(REPOSITORY, "test/support/poison-process.ts"),
  ]);
  assert.equal(code, 0, stderr);
  for (const line of stdout.split("\n").filter((text) => text.startsWith("{"))) {
    const swallowed = JSON.parse(line) as Swallowed;
    found.set(swallowed.name, swallowed);
  }
});

describe("a folder swallows poison", () => {
  for (const { name, outcome, says } of POISONS) {
    test(name, () => {
      const swallowed = found.get(name);
      assert.ok(swallowed !== undefined, "the process did not come to it");
      const { event, isSame, versions, problem, isPolluted, cpuMs, memoryMiB } = swallowed;
      assert.match(problem, says);
      assert.equal(event, outcome === "refused" ? "kept" : "swapped");
      assert.equal(isSame, outcome === "refused");
      assert.equal(versions, outcome === "refused" ? 0 : 1);
      assert.equal(isPolluted, false);
      const most = name.startsWith("documents") ? MOST_CPU_OF_DOCUMENTS_MS : MOST_CPU_MS;
      assert.ok(cpuMs < most, `${cpuMs} ms of processor time`);
      assert.ok(memoryMiB < MOST_MEMORY_MIB, `${memoryMiB} MiB`);
    });
  }
});

/** A file with 10^5 keys, in documents of about as many as one may hold. */
function manyKeys(key: (index: number) => string): Buffer {
  const data = Array.from({ length: 6_000 }, (_, index) => `${key(index)}: x`).join(",");
  return Buffer.from(`--- {data: {${data}}}\n`.repeat(17));
}

/** Processor time of reading a file, ms. */
function readingCost(bytes: Buffer): number {
  const start = process.cpuUsage();
  for (const loaded of loadDocuments("f", bytes)) assert.ok("node" in loaded);
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1_000;
}

test("numbers as keys cost what other keys cost", () => {
  const letters = manyKeys((index) => `k${String(index).padStart(4, "0")}`);
  // Without a seed their hashes are the numbers, and end in the same bits.
  const digits = manyKeys((index) => String(index * 16));
  readingCost(letters);
  const [other = 0, number = 0] = [letters, digits].map((bytes) => Math.min(readingCost(bytes), readingCost(bytes)));
  assert.ok(number < 3 * other, `${number} ms of processor time, with letters ${other} ms`);
});
