// Machine. Gives memory back: buffers that arrive over TLS are dead soon after they came but weigh nothing in the young
// heap, so V8 would let tens of MiB of them stand; and what it frees, the C library keeps.
//
// Four measures, by what each costs: a minor collection (0.2 ms) for every 4 MiB that came in; a full collection and
// `malloc_trim` (20 ms) once a minute under a trickle that never counts as quiet; the same under any load when the heap has
// grown, as it does for a large configuration, since V8 would let that stand for as long as the load lasts; and when start-up
// or load is over, a thorough collection (45 ms): a full one leaves a young heap of 7 MiB, 9 MiB of pages kept for later and
// half-empty old ones, so that 10 s after load the process still had 30 to 38 MiB, where it has 20 after this.
import { performance } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { systemClock } from "./clock.ts";
import type { Clock, Timer } from "./clock.ts";
import { dropFreeSlabs } from "./slabs.ts";

/** 4 MiB: at 8 the bytes outside the heap made V8 mark the whole heap seven times a second. */
const MINOR_EVERY_BYTES = 4 * 1024 * 1024;
/** How often the loop's utilization is looked at while there is something to watch. */
const WATCH_MS = 500;
/**
 * Load has stopped for good after this. Not sooner: a thorough collection also costs the next burst, see `keepSpecimen`.
 * After start-up, when no connection was served yet, there is nothing to lose.
 */
const SETTLED_MS = 5_000;
/** Below this share of a core the process counts as quiet. */
const QUIET = 0.05;
/** Above this share a full collection would be felt, so a trickle's collection waits. */
const TRICKLE = 0.3;
const TRICKLE_EVERY_MS = 60_000;
const TRICKLE_BYTES = 64 * 1024 * 1024;
const TRICKLE_CONNECTIONS = 1_000;
/** Growth of the heap that is worth a full collection under load: so soon after the last one, for what has grown may be in use, */
const GROWN_EVERY_MS = 10_000;
const GROWN_BYTES = 64 * 1024 * 1024;
/** and once a minute. The young heap alone comes and goes by half of it. */
const GROWN_SLOWLY_BYTES = 32 * 1024 * 1024;
/** A full collection that took longer than this is left to V8's own pace the next time. */
const LONG_PAUSE_MS = 30;
/** After a thorough one that took longer, because the heap is large, quiet is used for a full one. */
const LONG_THOROUGH_MS = 200;

/** What the watch does to the process; replaced in tests. */
export interface MemoryTools {
  /** Busy share of the event loop since the last call, 0 to 1. */
  utilization(): number;
  /** Size of the heap, in bytes. */
  heap(): number;
  minor(): void;
  major(): void;
  /** Full collections until no more is freed; the young heap shrinks to its least and pages kept for later go back. */
  thorough(): void;
  majorInPieces(): Promise<unknown>;
  trim(): void;
}

/** The watch over one process. It runs a timer only between the first work and the collection after it. */
export class MemoryWatch {
  readonly #clock: Clock;
  #tools: MemoryTools;
  #timer: Timer | undefined;
  #sinceMinor = 0;
  #bytes = 0;
  #connections = 0;
  #busySeen = false;
  #quietMs = 0;
  #lastFullMs: number;
  /** The least that the heap was since the last full collection. */
  #heapLeft = Infinity;
  #lastPauseMs = 0;
  #lastThoroughMs = 0;

  constructor(clock: Clock, tools: MemoryTools) {
    this.#clock = clock;
    this.#tools = tools;
    this.#lastFullMs = clock.monotonic();
  }

  /** Notes payload received; collects between two turns of the loop, never inside a read. */
  received(bytes: number): void {
    this.#bytes += bytes;
    this.#sinceMinor += bytes;
    if (this.#timer === undefined) this.#arm();
    if (this.#sinceMinor < MINOR_EVERY_BYTES) return;
    this.#sinceMinor = 0;
    setImmediate(() => this.#tools.minor());
  }

  /** Notes a connection that ended: what it was made of is garbage now. */
  connectionEnded(): void {
    this.#connections += 1;
    if (this.#timer === undefined) this.#arm();
  }

  /** Notes a handshake that made a session: 40 KiB of what it was made with are garbage now, and the session may stay for days. */
  handshakeEnded(): void {
    this.connectionEnded();
  }

  /** Notes work of another kind, such as start-up or a new configuration, that leaves garbage. */
  worked(): void {
    this.#busySeen = true;
    if (this.#timer === undefined) this.#arm();
  }

  /** Memory is short: what is garbage is given back now, whatever runs. */
  pressed(): void {
    dropFreeSlabs();
    this.#tools.major();
    this.#tools.trim();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** The process is somebody else's, who sees to its memory: from now on nothing is collected. */
  leaveToOwner(): void {
    this.stop();
    this.#tools = NO_TOOLS;
    // It counts as armed, so that nothing has to ask who the owner is.
    this.#timer = { cancel: ignore };
  }

  #arm(): void {
    this.#tools.utilization();
    this.#timer = this.#clock.every(WATCH_MS, () => this.#look());
  }

  #look(): void {
    const utilization = this.#tools.utilization();
    if (utilization > QUIET) {
      this.#busySeen = true;
      this.#quietMs = 0;
    } else {
      this.#quietMs += WATCH_MS;
    }
    const settledMs = this.#connections === 0 && this.#bytes === 0 ? WATCH_MS : SETTLED_MS;
    if (this.#busySeen && this.#quietMs >= settledMs) {
      this.stop();
      this.#giveBack("thoroughly");
      return;
    }
    const sinceFullMs = this.#clock.monotonic() - this.#lastFullMs;
    const worth = sinceFullMs >= TRICKLE_EVERY_MS ? GROWN_SLOWLY_BYTES : GROWN_BYTES;
    if (this.#growth() >= worth && sinceFullMs >= GROWN_EVERY_MS) return this.#giveBack("in pieces");
    if (sinceFullMs < TRICKLE_EVERY_MS || utilization > TRICKLE) return;
    if (this.#bytes >= TRICKLE_BYTES || this.#connections >= TRICKLE_CONNECTIONS) this.#giveBack("at once");
    else if (!this.#busySeen) this.stop();
  }

  /** Of the heap since the last full collection, in bytes. */
  #growth(): number {
    const heap = this.#tools.heap();
    this.#heapLeft = Math.min(this.#heapLeft, heap);
    return heap - this.#heapLeft;
  }

  #giveBack(how: "thoroughly" | "at once" | "in pieces"): void {
    this.#bytes = 0;
    this.#connections = 0;
    this.#sinceMinor = 0;
    this.#busySeen = false;
    this.#quietMs = 0;
    this.#lastFullMs = this.#clock.monotonic();
    this.#heapLeft = Infinity;
    dropFreeSlabs();
    if (how === "thoroughly" && this.#lastThoroughMs <= LONG_THOROUGH_MS) {
      this.#tools.thorough();
      this.#lastThoroughMs = this.#clock.monotonic() - this.#lastFullMs;
      this.#tools.trim();
      return;
    }
    if (how === "in pieces" || this.#lastPauseMs > LONG_PAUSE_MS) {
      this.#tools.majorInPieces().then(() => this.#tools.trim(), ignore);
      return;
    }
    this.#tools.major();
    this.#lastPauseMs = this.#clock.monotonic() - this.#lastFullMs;
    this.#tools.trim();
  }
}

type Collector = (options?: {
  type: "major" | "minor";
  execution?: "sync" | "async";
  /** `last-resort` is what V8 does before it gives up for want of memory. */
  flavor?: "regular" | "last-resort";
}) => unknown;

/** The tools of this process. Where the runtime lacks or forbids one, it does nothing. */
export function processMemoryTools(): MemoryTools {
  let collector: Collector | undefined;
  let trimmer: (() => void) | undefined;
  let last = performance.eventLoopUtilization();
  const collect: Collector = (options) => (collector ??= findCollector())(options);
  return {
    utilization() {
      const now = performance.eventLoopUtilization();
      const share = performance.eventLoopUtilization(now, last).utilization;
      last = now;
      return share;
    },
    heap: () => process.memoryUsage().heapTotal,
    minor: () => void collect({ type: "minor" }),
    // Said in full: called with `undefined` instead of nothing, V8 collects the young generation only.
    major: () => void collect({ type: "major", execution: "sync" }),
    thorough: () => void collect({ type: "major", execution: "sync", flavor: "last-resort" }),
    majorInPieces: async () => collect({ type: "major", execution: "async" }),
    trim: () => (trimmer ??= findTrimmer())(),
  };
}

/** `gc` without a command-line flag: V8 gives it to contexts made after the flag was set. */
function findCollector(): Collector {
  const present = (globalThis as { gc?: Collector }).gc;
  if (typeof present === "function") return present;
  try {
    setFlagsFromString("--expose-gc");
    return runInNewContext("gc") as Collector;
  } catch {
    return ignore;
  }
}

/** `malloc_trim(3)` of glibc by `node:ffi`: absent on other C libraries, and under `--permission` without `--allow-ffi`. */
function findTrimmer(): () => void {
  try {
    const ffi = process.getBuiltinModule("node:ffi");
    const trim = new ffi.DynamicLibrary(null).getFunction("malloc_trim", { arguments: ["u64"], return: "i32" });
    return () => void trim(0n);
  } catch {
    return ignore;
  }
}

function ignore(): void {}

const NO_TOOLS: MemoryTools = {
  utilization: () => 0,
  heap: () => 0,
  minor: ignore,
  major: ignore,
  thorough: ignore,
  majorInPieces: () => Promise.resolve(),
  trim: ignore,
};

const specimens = new Map<string, object>();

/**
 * Keeps the last object of a kind alive. A full collection in a quiet moment, when no connection is there, also collects the
 * hidden classes of everything that connections are made of, and V8 then throws away the code it had optimized for them:
 * the next burst paid 80 functions' compilation and half as much CPU again. One specimen of each kind holds them. `kind` comes
 * from a fixed set.
 */
export function keepSpecimen(kind: string, object: object): void {
  specimens.set(kind, object);
}

/** The watch over this process: there is one heap, so there is one watch. Its timer never keeps the process alive. */
export const processMemory: MemoryWatch = new MemoryWatch(systemClock, processMemoryTools());
