// Machine. What this process may have of memory, and whether it has nearly all of it: then new streams are refused, so that
// those that run can go on. The kernel kills a process that is over the limit of its container, and with it all of them.
//
// Counted are anonymous pages: those of the program's own file can be had back at any time. Nothing is looked at while nothing
// comes: there is no timer, and a stream looks at the numbers if nobody has for a while.
import { openSync, readSync } from "node:fs";
import { getHeapStatistics } from "node:v8";
import { fail, type Failure } from "../failure/failure.ts";
import { systemClock, type Clock } from "./clock.ts";
import { processMemory } from "./memory.ts";

/** What is left is for the streams that run, for the kernel's buffers of their sockets, and for what came between two looks. */
const SHED_AT = 0.85;
/** How old a look may be: some hundred streams of some KiB. */
const LOOK_MS = 50;
/** A collection takes the processor from the streams that run, so it comes no more often than this. */
const COLLECT_MS = 1_000;
const PAGE_BYTES = 4096;
const MIB = 1024 * 1024;

/** What the cap stands on; replaced in tests. */
export interface MemoryGauge {
  readonly clock: Clock;
  /** Bytes that the container allows; Infinity without a limit. */
  allowed(): number;
  /** Bytes in use; 0 where that cannot be known. */
  used(): number;
  /** The share of the heap that is in use, of what V8 allows itself. */
  heapShare(): number;
  /** Gives back what is garbage. */
  collect(): void;
}

/** See the head of the file. */
export class MemoryCap {
  readonly #gauge: MemoryGauge;
  #bound = Infinity;
  #limit: number | undefined;
  #lookedMs = -Infinity;
  #collectedMs = -Infinity;
  #shortage: Failure | undefined;

  constructor(gauge: MemoryGauge) {
    this.#gauge = gauge;
  }

  /** Bytes; Infinity without a limit. */
  get limit(): number {
    return (this.#limit ??= Math.min(this.#bound, this.#gauge.allowed()));
  }

  /** Bytes in use now. */
  get used(): number {
    return this.#gauge.used();
  }

  /** Sets a limit that holds when it is lower than the container's. */
  bound(bytes: number): void {
    this.#bound = bytes;
    this.#limit = undefined;
  }

  /** The process is somebody else's, who sees to its memory: there is no shortage of ours. */
  leaveToOwner(): void {
    this.#shortage = undefined;
    this.#lookedMs = Infinity;
  }

  /** Why no new stream can be taken, `undefined` when one can. */
  get shortage(): Failure | undefined {
    const now = this.#gauge.clock.monotonic();
    if (now - this.#lookedMs >= LOOK_MS) {
      this.#lookedMs = now;
      this.#shortage = this.#look();
      if (this.#shortage !== undefined && now - this.#collectedMs >= COLLECT_MS) {
        this.#collectedMs = now;
        this.#gauge.collect();
        this.#shortage = this.#look();
      }
    }
    return this.#shortage;
  }

  #look(): Failure | undefined {
    const { limit } = this;
    if (Number.isFinite(limit)) {
      const used = this.#gauge.used();
      if (used >= SHED_AT * limit) return fail("MEMORY_SHORT", `${mib(used)} MiB of ${mib(limit)} MiB are in use`);
    }
    const share = this.#gauge.heapShare();
    return share < SHED_AT ? undefined : fail("MEMORY_SHORT", `${Math.round(share * 100)} % of the heap are in use`);
  }
}

function mib(bytes: number): number {
  return Math.round(bytes / MIB);
}

/** The limit of the control group. Without one the runtime answers 0, or a number that no machine has. */
function allowed(): number {
  const bytes = process.constrainedMemory();
  return bytes > 0 && bytes < Number.MAX_SAFE_INTEGER ? bytes : Infinity;
}

/** Kept open: opening and closing it took longer than reading it. */
let statm: number | undefined;
const statmText = Buffer.allocUnsafeSlow(128);

function anonymous(): number {
  try {
    statm ??= openSync("/proc/self/statm", "r");
    const text = statmText.toString("latin1", 0, readSync(statm, statmText, 0, statmText.length, 0));
    const [, resident = 0, shared = 0] = text.split(" ").map(Number);
    return (resident - shared) * PAGE_BYTES;
  } catch {
    return 0;
  }
}

function heapShare(): number {
  const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
  return used / limit;
}

/** The memory of this process. */
export const processMemoryCap: MemoryCap = new MemoryCap({
  clock: systemClock,
  allowed,
  used: anonymous,
  heapShare,
  collect: () => processMemory.pressed(),
});
