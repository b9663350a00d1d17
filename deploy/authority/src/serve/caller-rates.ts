// Machine. How often each caller may ask: buckets by key, the quietest forgotten first, so that many addresses cost no memory.
import type { Clock } from "@culvert/shared/net/clock.ts";
import { TokenBucket } from "@culvert/shared/net/token-bucket.ts";

export interface CallerRatesOptions {
  readonly clock: Clock;
  readonly burst: number;
  readonly perSecond: number;
  /** Callers remembered at once. */
  readonly most: number;
}

/** Token buckets of callers. Who was forgotten begins with a full one, which takes more addresses than are remembered. */
export class CallerRates {
  readonly #options: CallerRatesOptions;
  /** By caller, the one that asked longest ago first. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(options: CallerRatesOptions) {
    this.#options = options;
  }

  /** Takes one; false when this caller has none left. */
  take(caller: string): boolean {
    return this.#bucket(caller).take();
  }

  /** Whether one is left, without taking it. */
  has(caller: string): boolean {
    return this.#buckets.get(caller)?.hasOne ?? true;
  }

  #bucket(caller: string): TokenBucket {
    const { clock, burst, perSecond, most } = this.#options;
    const bucket = this.#buckets.get(caller) ?? new TokenBucket(clock, burst, perSecond);
    this.#buckets.delete(caller);
    this.#buckets.set(caller, bucket);
    if (this.#buckets.size > most) {
      const [oldest] = this.#buckets.keys();
      if (oldest !== undefined) this.#buckets.delete(oldest);
    }
    return bucket;
  }
}

/** What an address counts as: an IPv6 host has a whole /64 to choose from. */
export function addressKey(address: string): string {
  if (!address.includes(":")) return address;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = "", tail] = address.split("::");
  const groups = head === "" ? [] : head.split(":");
  const rest = tail === undefined || tail === "" ? [] : tail.split(":");
  const left = tail === undefined ? 0 : Math.max(0, 8 - groups.length - rest.length);
  return `${[...groups, ...Array<string>(left).fill("0"), ...rest].slice(0, 4).join(":")}::/64`;
}
