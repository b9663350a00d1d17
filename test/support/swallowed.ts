// Types. What came of one poison, as the process that swallowed it tells.

/** One poison. */
export interface Swallowed {
  readonly name: string;
  /** The last thing that the folder said. */
  readonly event: string | undefined;
  /** Whether the snapshot of before is still in use. */
  readonly isSame: boolean;
  /** How many snapshots came after that of before. */
  readonly versions: number;
  /** The first problem, without the name of its file. */
  readonly problem: string;
  readonly isPolluted: boolean;
  /** Processor time, all threads. */
  readonly cpuMs: number;
  /** Most memory, above that of the process before it had read anything large. */
  readonly memoryMiB: number;
}
