// Machine. Control groups with a limit of memory or of processor time, where this machine lets us make them.
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

const ROOT = "/sys/fs/cgroup";
const isUnified = existsSync(join(ROOT, "cgroup.controllers"));
/** Of the scheduler, in microseconds: the usual one. */
const PERIOD_US = 100_000;

/** At most so much memory. `undefined` where control groups cannot be made: in most containers they are read-only. */
export function memoryCgroup(bytes: number): Cgroup | undefined {
  return isUnified
    ? makeCgroup(ROOT, [["memory.max", String(bytes)]])
    : makeCgroup(join(ROOT, "memory"), [["memory.limit_in_bytes", String(bytes)]]);
}

/** At most so much of one processor's time, in percent; else as `memoryCgroup`. */
export function processorCgroup(percent: number): Cgroup | undefined {
  const quota = (PERIOD_US * percent) / 100;
  return isUnified
    ? makeCgroup(ROOT, [["cpu.max", `${quota} ${PERIOD_US}`]])
    : makeCgroup(join(ROOT, "cpu"), [
        ["cpu.cfs_period_us", String(PERIOD_US)],
        ["cpu.cfs_quota_us", String(quota)],
      ]);
}

function makeCgroup(parent: string, limits: readonly (readonly [string, string])[]): Cgroup | undefined {
  const folder = join(parent, `culvert-test-${process.pid}`);
  try {
    mkdirSync(folder);
    for (const [file, value] of limits) writeFileSync(join(folder, file), value);
  } catch {
    if (existsSync(folder)) rmdirSync(folder);
    return undefined;
  }
  return {
    prefix: ["sh", "-c", `echo $$ >${join(folder, "cgroup.procs")} && exec "$@"`, "sh"],
    remove: () => rmdirSync(folder),
  };
}
