// Machine. A control group with a limit of memory, where this machine lets us make one.
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** A control group. */
export interface Cgroup {
  /** Command in front of a program that is to run in it. */
  readonly prefix: readonly string[];
  /** Once nothing runs in it. */
  remove(): void;
}

/** `undefined` where control groups cannot be made: in most containers they are read-only. */
export function memoryCgroup(bytes: number): Cgroup | undefined {
  const root = "/sys/fs/cgroup";
  const [parent, file] = existsSync(join(root, "cgroup.controllers"))
    ? [root, "memory.max"]
    : [join(root, "memory"), "memory.limit_in_bytes"];
  const folder = join(parent, `culvert-test-${process.pid}`);
  try {
    mkdirSync(folder);
    writeFileSync(join(folder, file), String(bytes));
  } catch {
    if (existsSync(folder)) rmdirSync(folder);
    return undefined;
  }
  return {
    prefix: ["sh", "-c", `echo $$ >${join(folder, "cgroup.procs")} && exec "$@"`, "sh"],
    remove: () => rmdirSync(folder),
  };
}
