// House rule: what ships may be used by anybody under the terms of Apache-2.0, so only licences that allow that come in.
import assert from "node:assert/strict";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "./sources.ts";

const ALLOWED = new Set(["MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "0BSD", "BlueOak-1.0.0"]);

interface Manifest {
  readonly name?: string;
  readonly version?: string;
  readonly license?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Manifest;
}

/** Folder of a dependency as the package in `folder` sees it. */
function folderOf(folder: string, name: string): string | undefined {
  for (let base = realpathSync(folder); base !== ROOT && base !== "/"; base = join(base, "..")) {
    for (const candidate of [join(base, "node_modules", name), join(base, name)]) {
      if (existsSync(join(candidate, "package.json"))) return candidate;
    }
  }
  return undefined;
}

/** Of a choice one will do; of what holds together, all must. */
function isAllowed(license: string): boolean {
  return license
    .replaceAll(/[()]/g, "")
    .split(" OR ")
    .some((choice) => choice.split(" AND ").every((one) => ALLOWED.has(one.trim())));
}

test("every package that ships has an allowed licence", () => {
  const pending = ["uproxy", "waypoint", "shared", "deploy/authority"].map((name) => join(ROOT, name));
  const seen = new Set<string>();
  const wrong: string[] = [];
  for (let folder = pending.pop(); folder !== undefined; folder = pending.pop()) {
    const { name = folder, version = "", license = "none", dependencies = {} } = manifestOf(folder);
    if (seen.has(`${name}@${version}`)) continue;
    seen.add(`${name}@${version}`);
    if (!isAllowed(license)) wrong.push(`${name}@${version}: ${license}`);
    for (const dependency of Object.keys(dependencies)) {
      const found = folderOf(folder, dependency);
      if (found !== undefined) pending.push(found);
      else wrong.push(`${name}: dependency ${dependency} is not installed`);
    }
  }
  assert.ok(seen.size > 8, `only ${seen.size} packages were seen`);
  assert.deepEqual(wrong, []);
});
