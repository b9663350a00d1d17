// Root. The only file of the tests that reads the environment and knows where the repository and its tools are.
import { existsSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";

/** The root of the repository. */
export const REPOSITORY: string = resolve(import.meta.dirname, "../..");

/** Whether a test that cannot run is a failure: in CI, and wherever `CULVERT_TEST_STRICT` is set. */
export function strict(): boolean {
  const wanted = process.env["CULVERT_TEST_STRICT"] ?? process.env["CI"] ?? "";
  return wanted !== "" && wanted !== "0" && wanted !== "false";
}

/**
 * Families of the addresses that workloads under test have, in turns: IPv4, unless `CULVERT_TEST_FAMILIES` says otherwise (`6`, `46`,
 * `64`). What has IPv6 runs in a namespace made for it: see `families.ts`.
 */
export function addressFamilies(): readonly (4 | 6)[] {
  const wanted = process.env["CULVERT_TEST_FAMILIES"] ?? "4";
  return Array.from(wanted, (digit) => (digit === "6" ? 6 : 4));
}

/** Whether this process may make network namespaces and drop to other users. */
export function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Folders searched for commands: the repository's own cache first (see `.ci/run`), then `PATH`, then Debian's corners. */
function toolFolders(): string[] {
  const postgres = "/usr/lib/postgresql";
  const versions = existsSync(postgres) ? readdirSync(postgres).toSorted((a, b) => Number(b) - Number(a)) : [];
  return [
    join(REPOSITORY, ".cache/bin"),
    ...(process.env["PATH"] ?? "").split(":"),
    "/usr/sbin",
    "/sbin",
    ...versions.map((version) => join(postgres, version, "bin")),
  ];
}

/** Path of a command, or `undefined` when the machine does not have it. */
export function findCommand(name: string): string | undefined {
  for (const folder of toolFolders()) {
    const path = join(folder, name);
    if (existsSync(path)) return path;
  }
  return undefined;
}

/** Path of a command that a test has declared as needed. */
export function command(name: string): string {
  const path = findCommand(name);
  if (path === undefined) throw new Error(`the command ${name} is not installed; declare it with needs({ commands })`);
  return path;
}

/**
 * The environment that child processes get: this one without what would change how they behave (`CULVERT_*` overrides
 * configuration, `NODE_OPTIONS` and the test runner's own variables change Node).
 */
export function childEnvironment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [key, value] of Object.entries(process.env)) {
    if (value === undefined || key.startsWith("CULVERT_") || key.startsWith("NODE_")) continue;
    result[key] = value;
  }
  return { ...result, ...extra };
}

/** How often the test of rolling restarts replaces both ends; `CULVERT_TEST_ROLLS=50` is the long form. */
export function rolls(): number {
  return Number(process.env["CULVERT_TEST_ROLLS"] ?? 5);
}

/** How long the test of certificates that change every two seconds lasts; `CULVERT_TEST_ROTATION_SECONDS=600` is the long form. */
export function rotationSeconds(): number {
  return Number(process.env["CULVERT_TEST_ROTATION_SECONDS"] ?? 10);
}
