import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { readElf, strip } from "./elf.ts";
import { symbolNames, withoutExports } from "./elf-exports.ts";

const folder = mkdtempSync(join(tmpdir(), "culvert-elf-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const node = readFileSync(process.execPath);
const isLinux = { skip: process.platform === "linux" ? false : "there are ELF files on Linux only" };

test("the loader and the libraries of an executable", isLinux, () => {
  const { interpreter, needed } = readElf(node);
  assert.match(interpreter ?? "", /^\/lib.*ld-linux/);
  assert.ok(needed.includes("libc.so.6"), needed.join(" "));
});

test("an executable without symbols and exports runs, and is smaller", isLinux, () => {
  const stripped = strip(node);
  // What the C library would take from the executable, were it there, is a name that both have.
  const small = withoutExports(stripped, new Set(["uv_default_loop"]));
  assert.ok(small.length < stripped.length && stripped.length < node.length, `${small.length} ${stripped.length}`);
  const names = symbolNames(small);
  assert.ok(names.includes("uv_default_loop") && !names.includes("uv_backend_fd"));
  const path = join(folder, "node");
  writeFileSync(path, small, { mode: 0o755 });
  // Every name that it takes from a library is looked up before anything runs.
  const script =
    "process.stdout.write(require('node:crypto').hash('sha256', new Intl.NumberFormat('de').format(1234)))";
  const run = (command: string): string => execFileSync(command, ["-e", script], { encoding: "utf8" });
  assert.equal(run(path), run(process.execPath));
  const found = "new (require('node:ffi').DynamicLibrary)(null).getFunction('uv_default_loop', {return: 'pointer'})()";
  execFileSync(path, ["--no-warnings", "-e", found]);
});

test("files that are something else are refused", isLinux, () => {
  assert.throws(() => readElf(Buffer.from("#!/bin/sh\n".repeat(20))), /no ELF file/);
  assert.throws(() => readElf(Buffer.concat([Buffer.from("\x7fELF\x01\x01"), Buffer.alloc(100)])), /not of 64 bits/);
  const other = Buffer.from(node);
  // A library, or an executable that can be anywhere.
  other.writeUInt16LE(3, 0x10);
  assert.throws(() => withoutExports(other, new Set()), /laid out in a new way/);
});
