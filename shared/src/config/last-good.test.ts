import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { chmod, mkdtemp, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import * as fc from "fast-check";
import { Packr } from "msgpackr/pack";
import { LAST_GOOD_LIMITS, packFile, packSnapshot, unpackSnapshot } from "./last-good-format.ts";
import { readLastGood, writeLastGood } from "./last-good.ts";
import { loadDocuments } from "./load.ts";
import type { Node } from "./tree.ts";

const YAML = `apiVersion: v1
kind: Service
metadata: {name: reviews, labels: {"__proto__": x, a.b: "1"}}
spec:
  ports: [{name: http, port: 9080}]
  ratio: 0.5
  none: null
  yes: true
---
- 1
- [two, [three]]
`;

function trees(yaml: string, source = "mesh/a.yaml"): Node[] {
  return [...loadDocuments(source, Buffer.from(yaml))].map((loaded) => {
    assert("node" in loaded, JSON.stringify(loaded));
    return loaded.node;
  });
}

function whole(yaml = YAML): Buffer {
  return Buffer.concat(packSnapshot(1_000, [packFile("mesh/a.yaml", trees(yaml)), packFile("mesh/b.yaml", [])]));
}

/** A snapshot whose one file is these bytes, with a right checksum. */
function holding(...files: readonly Uint8Array[]): Buffer {
  return Buffer.concat(packSnapshot(1_000, files));
}

function pack(value: unknown): Buffer {
  return Buffer.from(new Packr({ useRecords: false }).pack(value));
}

/** Why a file is refused. */
async function reasonOf(path: string): Promise<string> {
  const found = await readLastGood(path);
  return typeof found === "string" ? found : "it was taken";
}

function refused(bytes: Uint8Array): string {
  const found = unpackSnapshot(bytes);
  assert(typeof found === "string", "it was taken");
  return found;
}

describe("the format", () => {
  test("gives back the same trees, with their places", () => {
    const found = unpackSnapshot(whole());
    assert(typeof found !== "string", "refused");
    assert.equal(found.savedAt, 1_000);
    assert.deepEqual(found.files, [
      { path: "mesh/a.yaml", documents: trees(YAML) },
      { path: "mesh/b.yaml", documents: [] },
    ]);
  });

  test("refuses what is cut short or changed, wherever that is", () => {
    const bytes = whole();
    for (let length = 0; length < bytes.length; length++) refused(bytes.subarray(0, length));
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0x41;
      refused(changed);
    }
    assert.match(refused(Buffer.concat([bytes, Buffer.of(0)])), /checksum/);
  });

  test("refuses another version, and says so", () => {
    const bytes = whole();
    bytes.writeUInt32BE(2, 16);
    assert.match(refused(bytes), /format 2, expected 1: another version of Culvert wrote it/);
  });

  test("refuses what claims more than it has, before anything is made of it", () => {
    const bombs: Readonly<Record<string, Buffer>> = {
      "a list of 4,294,967,295": Buffer.of(0xdd, 0xff, 0xff, 0xff, 0xff),
      "a text of 4,294,967,295": Buffer.of(0xdb, 0xff, 0xff, 0xff, 0xff),
      "a list of 65,535": Buffer.of(0xdc, 0xff, 0xff, 0xc0),
      "a mapping": Buffer.of(0x81, 0xa1, 0x61, 0x01),
      "a large mapping": Buffer.of(0xdf, 0xff, 0xff, 0xff, 0xff),
      bytes: Buffer.of(0xc4, 0x01, 0x00),
      "an extension": Buffer.of(0xd4, 0x72, 0x40),
      "a record definition": Buffer.of(0x92, 0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61, 0x01),
      "a regular expression": Buffer.from(new Packr({ moreTypes: true }).pack([/(a+)+$/, []])),
      nothing: Buffer.alloc(0),
      "two values": Buffer.of(0xc0, 0xc0),
      "100,000 levels": Buffer.alloc(100_000, 0x91),
    };
    for (const [name, bytes] of Object.entries(bombs)) assert.match(refused(holding(bytes)), /^file 1 of 1: /, name);
  });

  test("refuses trees that are none, keys that are there twice, and places that are none", () => {
    for (const value of [
      "text",
      ["path"],
      [1, []],
      ["path", "documents"],
      ["path", [[0, 1]]],
      ["path", [[0, -1, "x"]]],
      ["path", [[0, 1.5, "x"]]],
      ["path", [[3, 1, []]]],
      ["path", [[1, 1, "x"]]],
      ["path", [[2, 1, ["key", 1]]]],
      ["path", [[2, 1, [1, 1, [0, 1, "x"]]]]],
      ["path", [[2, 1, ["k", 1, [0, 1, 1], "k", 1, [0, 1, 2]]]]],
      ["path", [[0, 1, ["x"]]]],
    ]) {
      assert.match(refused(holding(pack(value))), /^file 1 of 1: expected/, JSON.stringify(value));
    }
  });

  test("whatever the bytes, the answer is trees or a sentence", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const found = unpackSnapshot(holding(bytes));
        assert(typeof found === "string" || found.files.length === 1);
        const header = Buffer.concat([whole().subarray(0, 20), hash("sha256", bytes, "buffer"), bytes]);
        unpackSnapshot(header);
        unpackSnapshot(bytes);
      }),
      { numRuns: 2_000 },
    );
  });

  test("a deep document of the largest depth goes through", () => {
    const depth = 60;
    const deep = `${"[".repeat(depth)}1${"]".repeat(depth)}\n`;
    const found = unpackSnapshot(whole(deep));
    assert(typeof found !== "string", "refused");
  });
});

async function placeFor(context: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "culvert-last-good-"));
  context.after(() => rm(folder, { recursive: true, force: true }));
  return join(folder, "snapshot");
}

describe("the file", () => {
  test("is its owner's alone, and replaces the one before", async (context) => {
    const path = await placeFor(context);
    assert.equal(await writeLastGood(path, 1, []), undefined);
    assert.equal(await writeLastGood(path, 2, [packFile("a.yaml", trees(YAML))]), undefined);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    const found = await readLastGood(path);
    assert(typeof found !== "string", "refused");
    assert.equal(found.savedAt, 2);
  });

  test("that others can read, that is none, or that leads elsewhere is refused with the reason", async (context) => {
    const path = await placeFor(context);
    assert.match(await reasonOf(path), /ENOENT/);
    await writeLastGood(path, 1, []);
    await chmod(path, 0o644);
    assert.match(await reasonOf(path), /expected mode 0600, found 0644/);
    await chmod(path, 0o600);
    await symlink(path, `${path}.link`);
    assert.match(await reasonOf(`${path}.link`), /ELOOP/);
    assert.match(await reasonOf(join(path, "..")), /expected a regular file/);
    await writeFile(path, "not a snapshot, though long enough to hold the header of one, and all of its fields");
    assert.match(await reasonOf(path), /is no snapshot of Culvert/);
  });

  test("that is huge is refused before it is read", async (context) => {
    const path = await placeFor(context);
    await writeFile(path, "", { mode: 0o600 });
    const { truncate } = await import("node:fs/promises");
    await truncate(path, LAST_GOOD_LIMITS.bytes + 1);
    assert.match(await reasonOf(path), /expected at most 134217728 bytes/);
  });

  test("that cannot be written says why, and leaves the one before and nothing else", async (context) => {
    const path = await placeFor(context);
    await writeLastGood(path, 1, []);
    const before = await readFile(path);
    assert.match((await writeLastGood(join(path, "below"), 2, [])) ?? "", /ENOTDIR/);
    assert.deepEqual(await readFile(path), before);
  });
});
