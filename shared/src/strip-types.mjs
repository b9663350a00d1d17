// Machine. Takes the types out of the sources, in a process of its own, so that what it needs for that leaves with it.
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { basename, dirname, join } from "node:path";

/** It takes 0.5 s; this long only where something hangs. */
const TIMEOUT_MS = 30_000;
/** How the folders begin that are being filled. */
const UNFINISHED = "new-";

/**
 * Writes sources without their types into a new folder, and removes the folders of older sources beside it.
 *
 * @param {string} checkout folder that the paths are relative to
 * @param {string[]} paths the sources
 * @param {string} folder afterwards it is there whole, or not at all
 * @returns {boolean} whether it is there
 */
export function stripInChild(checkout, paths, folder) {
  const child = spawnSync(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", import.meta.filename, checkout, folder],
    { input: paths.join("\n"), stdio: ["pipe", "ignore", "ignore"], timeout: TIMEOUT_MS },
  );
  return child.status === 0;
}

function strip(checkout, paths, folder) {
  const parent = dirname(folder);
  mkdirSync(parent, { recursive: true });
  const fresh = mkdtempSync(join(parent, UNFINISHED));
  try {
    for (const path of paths) {
      const target = join(fresh, path);
      mkdirSync(dirname(target), { recursive: true });
      writeFileSync(target, stripTypeScriptTypes(readFileSync(join(checkout, path), "utf8")));
    }
    renameSync(fresh, folder);
  } catch (error) {
    rmSync(fresh, { recursive: true });
    // Where another start was first, its folder is as good.
    if (!existsSync(folder)) throw error;
  }
  for (const name of readdirSync(parent)) {
    if (name !== basename(folder) && !name.startsWith(UNFINISHED))
      rmSync(join(parent, name), { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const [checkout, folder] = process.argv.slice(2);
  strip(checkout, readFileSync(0, "utf8").split("\n"), folder);
}
