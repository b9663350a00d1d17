// Machine. The descriptors of this process. When few are left, accepting pauses and nothing more is dialled, so that what runs
// goes on and the last ones serve probes, operators and the renewal of certificates.
//
// The runtime itself raises the soft limit to the hard one when it starts. It has no pause: at the limit libuv accepts each
// connection on a descriptor that it held back and closes it. How many are left costs nothing to know, because the kernel
// always gives out the lowest free number: a connection with a high one says that all below are taken.
import { closeSync, openSync, readFileSync } from "node:fs";
import { fail, type Failure } from "../failure/failure.ts";
import { systemClock, type Clock, type Timer } from "./clock.ts";
import { processListeners } from "./listeners.ts";

/** Held back: connections of probes and operators, and files that are read anew. Of a small limit, an eighth. */
const MOST_RESERVE = 32;
/** How often, while short, it is looked whether there are enough again. */
const LOOK_MS = 20;
/** A shortage that comes back within this is the same one: connections trickle in while a few of them end. */
const SAME_SHORTAGE_MS = 5_000;
/** So long a shortage is no burst: something leaks, or the limit is wrong, and a restart is the way out. */
const LASTING_MS = 60_000;

/** What the descriptors stand on; replaced in tests. */
export interface DescriptorTools {
  readonly clock: Clock;
  /** The limit; Infinity where it cannot be known. */
  limit(): number;
  /** The lowest number that is free; Infinity when there is none. */
  lowestFree(): number;
  /** Stops accepting; `false` where that cannot be done. */
  pause(): boolean;
  resume(): void;
}

/** See the head of the file. */
export class Descriptors {
  readonly #tools: DescriptorTools;
  #limit: number | undefined;
  #ceiling = Infinity;
  #canPause = true;
  #timer: Timer | undefined;
  #pauses = 0;
  #sinceMs = -Infinity;
  #endedMs = -Infinity;
  #onChange: (short: boolean) => void = () => undefined;

  constructor(tools: DescriptorTools) {
    this.#tools = tools;
  }

  /** What the process may have open; Infinity where that cannot be known. */
  get limit(): number {
    if (this.#limit === undefined) {
      this.#limit = this.#tools.limit();
      this.#ceiling = this.#limit - Math.min(MOST_RESERVE, Math.ceil(this.#limit / 8));
    }
    return this.#limit;
  }

  /** Why nothing can be dialled now, `undefined` when it can. */
  get shortage(): Failure | undefined {
    if (this.#timer === undefined) return undefined;
    return fail("TOO_MANY_CONNECTIONS", `few of ${this.limit} descriptors are left`);
  }

  /** How often accepting has paused. */
  get pauses(): number {
    return this.#pauses;
  }

  /** Whether the shortage lasts so long that only a restart will end it. */
  get lasting(): boolean {
    const now = this.#tools.clock.monotonic();
    const short = this.#timer !== undefined || now - this.#endedMs < SAME_SHORTAGE_MS;
    return short && now - this.#sinceMs >= LASTING_MS;
  }

  /** Who is told when a shortage begins and ends; each is told once. */
  watch(onChange: (short: boolean) => void): void {
    this.#onChange = onChange;
  }

  /** Looks at the descriptor of a new connection. `false`: it cannot be kept, and is to be closed at once. */
  admit(descriptor: number): boolean {
    if (this.#limit === undefined) void this.limit;
    if (descriptor < this.#ceiling) return true;
    this.exhausted();
    return this.#canPause;
  }

  /** Few are left, or none: a connection could not be made. */
  exhausted(): void {
    if (this.#timer !== undefined) return;
    const { clock } = this.#tools;
    const now = clock.monotonic();
    if (now - this.#endedMs >= SAME_SHORTAGE_MS) {
      this.#sinceMs = now;
      this.#onChange(true);
    }
    this.#pauses += 1;
    this.#canPause = this.#tools.pause();
    this.#timer = clock.every(LOOK_MS, () => this.#look());
  }

  #look(): void {
    if (this.#tools.lowestFree() >= this.#ceiling) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    const { clock } = this.#tools;
    const endedMs = clock.monotonic();
    this.#endedMs = endedMs;
    this.#tools.resume();
    clock.after(SAME_SHORTAGE_MS, () => {
      if (this.#timer === undefined && this.#endedMs === endedMs) this.#onChange(false);
    });
  }
}

function ownLimit(): number {
  try {
    const found = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return found === undefined ? Infinity : Number(found);
  } catch {
    return Infinity;
  }
}

function lowestFree(): number {
  try {
    const descriptor = openSync("/dev/null", "r");
    closeSync(descriptor);
    return descriptor;
  } catch {
    return Infinity;
  }
}

/** The descriptors of this process: there is one table of them. */
export const processDescriptors: Descriptors = new Descriptors({
  clock: systemClock,
  limit: ownLimit,
  lowestFree,
  pause: () => processListeners.pause(),
  resume: () => processListeners.resume(),
});
