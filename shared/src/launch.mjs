// Root. Starts a program from its TypeScript sources with a warm compile cache.
//
// Node strips types with a WebAssembly program that stays in memory once it was used (20 MiB of private memory, and half of
// the time to start). What it made is kept in Node's compile cache; with every file found there, it is never loaded. So the
// first start after a change of the sources lets a child process fill the cache. This file is plain JavaScript because it
// runs before any of that. Images ship one bundled file and need none of it.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const CHECKOUT = join(import.meta.dirname, "../..");
/** Told to the child that fills the cache; the child runs `--version`, which loads everything and does nothing. */
const WARMING = "--culvert-warming-compile-cache";

/**
 * Runs the program whose root file is `main`.
 *
 * @param {string} main file URL of its `main.ts`
 * @returns {Promise<void>}
 */
export async function launch(main) {
  const [last] = process.argv.slice(-1);
  if (last === WARMING) process.argv.pop();
  const cache = cacheFolder(main);
  if (cache !== undefined) {
    if (last !== WARMING) warm(cache, main);
    enableCompileCache(cache);
  }
  await import(main);
}

/** The cache of exactly these sources under exactly this runtime; undefined where it cannot be kept. */
function cacheFolder(main) {
  try {
    const sources = createHash("sha256").update(process.version);
    for (const folder of [join(CHECKOUT, "shared/src"), dirname(fileURLToPath(main))]) {
      for (const file of readdirSync(folder, { recursive: true })) {
        const { mtimeMs, size } = statSync(join(folder, file));
        sources.update(`${file} ${mtimeMs} ${size}\n`);
      }
    }
    const folder = join(CHECKOUT, "node_modules/.cache/culvert", sources.digest("hex").slice(0, 16));
    mkdirSync(folder, { recursive: true });
    return folder;
  } catch {
    return undefined;
  }
}

function warm(cache, main) {
  const stamp = join(cache, "warm");
  if (statSync(stamp, { throwIfNoEntry: false }) !== undefined) return;
  const [program = ""] = process.argv.slice(1);
  const child = spawnSync(process.execPath, [...process.execArgv, program, "--version", WARMING], {
    stdio: "ignore",
    timeout: 30_000,
  });
  if (child.status === 0) writeFileSync(stamp, `${main}\n`);
}
