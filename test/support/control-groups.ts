// Machine. Control groups of version 2 for programs of a test, in a mount of the test's own. Needs root.
import { mkdirSync, readFileSync, rmdirSync, mkdtempSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { command } from "./env.ts";
import { succeed } from "./process.ts";
import { until } from "./until.ts";

/** A control group. */
export interface ControlGroup {
  readonly path: string;
  /** What stands in front of a command that is to run in it. */
  readonly prefix: readonly string[];
}

/** Groups that end together. */
export interface ControlGroups {
  group(name: string): ControlGroup;
  remove(): Promise<void>;
}

/** Mounts the hierarchy, whose groups are the whole machine's; names are drawn so that no two tests meet. */
export async function mountControlGroups(): Promise<ControlGroups> {
  const folder = mkdtempSync(join(tmpdir(), "culvert-cgroup-"));
  await succeed(command("mount"), ["-t", "cgroup2", "none", folder]);
  const tag = `culvert-${randomBytes(3).toString("hex")}`;
  const made: string[] = [];
  return {
    group(name) {
      const path = join(folder, `${tag}-${name}`);
      mkdirSync(path);
      made.push(path);
      return { path, prefix: [command("sh"), "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', path] };
    },
    async remove() {
      for (const path of made) {
        const isEmpty = (): boolean => readFileSync(join(path, "cgroup.procs"), "utf8") === "";
        await until(`the end of all programs in ${path}`, isEmpty);
        rmdirSync(path);
      }
      await succeed(command("umount"), [folder]);
      rmdirSync(folder);
    },
  };
}
