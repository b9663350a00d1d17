// Machine. What a process costs, read from /proc: processor time, memory, descriptors.
import { readdirSync, readFileSync } from "node:fs";

/** Length of one clock tick in /proc (USER_HZ), which Linux fixes at 100 per second. */
const TICK_MS = 10;
const KIB_PER_MIB = 1024;

interface Stat {
  readonly parent: number;
  /** User and system time of the process and of its threads, ended ones included. */
  readonly cpuMs: number;
}

/** Reads /proc/PID/stat; `undefined` once the process is gone. The name (field 2) may hold spaces and brackets. */
function stat(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { parent: Number(fields[1]), cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS };
  } catch {
    return undefined;
  }
}

/** The running processes by their parent's number. */
function processesByParent(): ReadonlyMap<number, number[]> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const parent = stat(pid)?.parent;
    if (parent === undefined) continue;
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [pid]);
    else siblings.push(pid);
  }
  return children;
}

/** The processes that a process has started itself. */
export function childProcesses(parent: number): readonly number[] {
  return processesByParent().get(parent) ?? [];
}

/** A process and all that descend from it. */
export function processTree(root: number): number[] {
  const children = processesByParent();
  const result = [root];
  for (const pid of result) result.push(...(children.get(pid) ?? []));
  return result;
}

/** Processor time (user and system, milliseconds) of some processes with their descendants. */
export function cpuMs(pids: readonly number[]): number {
  let sum = 0;
  for (const root of pids) for (const pid of processTree(root)) sum += stat(pid)?.cpuMs ?? 0;
  return sum;
}

/** Memory of a process tree, MiB. */
export interface Memory {
  /** All resident pages. */
  readonly rss: number;
  /** Resident pages, shared ones divided among those who share them. */
  readonly pss: number;
  /** Anonymous pages: heap and stacks, nothing that the page cache could give back. */
  readonly anon: number;
}

/** Sums the memory of a process with its descendants. */
export function memory(root: number): Memory {
  let rss = 0;
  let pss = 0;
  let anon = 0;
  for (const pid of processTree(root)) {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
    const status = readFileSync(`/proc/${pid}/status`, "latin1");
    rss += kib(rollup, "Rss");
    pss += kib(rollup, "Pss");
    anon += kib(status, "RssAnon");
  }
  return { rss: rss / KIB_PER_MIB, pss: pss / KIB_PER_MIB, anon: anon / KIB_PER_MIB };
}

function kib(text: string, field: string): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0);
}

/** How many descriptors a process holds. */
export function descriptors(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
