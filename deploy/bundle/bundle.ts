// Root. `pnpm bundle [FOLDER]`: makes one JavaScript file of each program, in `dist` unless a folder is named, and prints
// their sizes.
import { mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { bundleProgram, PROGRAMS, type ProgramName } from "./bundle-program.ts";

const BYTES_PER_KIB = 1024;

const folder = resolve(process.argv[2] ?? join(import.meta.dirname, "../../dist"));
mkdirSync(folder, { recursive: true });
for (const program of Object.keys(PROGRAMS) as ProgramName[]) {
  const { path, bytes } = await bundleProgram(program, folder);
  process.stdout.write(`${path}: ${(bytes / BYTES_PER_KIB).toFixed(0)} KiB\n`);
}
