// What `pnpm pack:npm` makes: every package that is to be published, well-formed, and the same bytes each time.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { needs } from "../support/needs.ts";
import { packageOf, packForNpm } from "../support/npm-registry.ts";

describe("tarballs for npm", needs({ commands: ["npm"] }), () => {
  let folder: string;
  let tarballs: string[];
  let again: string[];

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "culvert-npm-"));
    [tarballs, again] = await Promise.all([packForNpm(join(folder, "first")), packForNpm(join(folder, "second"))]);
  });

  after(() => rmSync(folder, { recursive: true }));

  test("every publishable package is packed, and publint finds nothing to say", async () => {
    const names = tarballs.map(packageOf);
    for (const name of [
      "@culvert/authority",
      "@culvert/in-process",
      "@culvert/shared",
      "@culvert/uproxy",
      "@culvert/waypoint",
    ]) {
      assert.ok(names.includes(name), `${name} is not among ${names.join(", ")}`);
    }
    for (const path of tarballs) {
      const bytes = readFileSync(path);
      const tarball = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
      const { messages, pkg } = await publint({ pack: { tarball }, strict: true });
      const said = messages.map((message) => formatMessage(message, pkg, { color: false }));
      assert.deepEqual(said, [], path);
    }
  });

  test("equal sources make equal bytes", () => {
    assert.deepEqual(again.map(packageOf), tarballs.map(packageOf));
    for (const [index, path] of again.entries()) {
      assert.ok(readFileSync(path).equals(readFileSync(tarballs[index] ?? "")), `${packageOf(path)} differs`);
    }
  });
});
