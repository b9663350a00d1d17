// Machine. Which endpoints fail, and are left out for a while: seen by the connections that are made anyhow, with no probe of
// its own. An endpoint that is due again gets one connection to try; its caller has other endpoints if it fails.
import type { Failure, FailureCode } from "@culvert/shared/failure/failure.ts";
import { backoffDelay } from "@culvert/shared/net/backoff.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import { mayBeLate, mayTryElsewhere } from "@culvert/shared/tunnel/elsewhere.ts";
import type { TunnelLimits } from "@culvert/shared/tunnel/limits.ts";
import type { Endpoint } from "./hop.ts";

/** An endpoint that answers so lives. */
const ANSWERS: ReadonlySet<FailureCode> = new Set<FailureCode>(["PEER_DENIED"]);
/** Endpoints that are remembered; more do not fail at once, unless everything does. */
const MAX_REMEMBERED = 4_096;
/** How long an endpoint that has failed is remembered after the last time. */
const REMEMBER_MS = 600_000;

/** What the operator may want to know. */
export interface EjectionEvents {
  /** The endpoint is left out for `forMs`. */
  readonly onEjected: (endpoint: Endpoint, failure: Failure, forMs: number) => void;
  readonly onReadmitted: (endpoint: Endpoint) => void;
  /** All endpoints of a destination are left out, so all of them are used. Told once until one of any is readmitted. */
  readonly onLastResort: (endpoints: readonly Endpoint[]) => void;
}

interface Trouble {
  /** In a row. */
  failures: number;
  /** Times that it was left out, which its next time depends on. */
  ejections: number;
  /** Left out until then, in monotonic milliseconds; 0 when it is not. */
  untilMs: number;
  onTrial: boolean;
  failure: Failure;
  lastMs: number;
}

/** See the head of the file. */
export class Ejections {
  readonly #limits: TunnelLimits;
  readonly #clock: Clock;
  readonly #events: EjectionEvents;
  readonly #troubles = new Map<string, Trouble>();
  #toldLastResort = new WeakSet<readonly Endpoint[]>();
  #total = 0;

  constructor(limits: TunnelLimits, clock: Clock, events: EjectionEvents) {
    this.#limits = limits;
    this.#clock = clock;
    this.#events = events;
  }

  /** Whether an endpoint may be chosen: it is not left out, or it is due for a trial that nobody makes yet. */
  mayUse(endpoint: Endpoint): boolean {
    if (this.#troubles.size === 0) return true;
    const trouble = this.#troubles.get(keyOf(endpoint));
    if (trouble === undefined || trouble.untilMs === 0) return true;
    return !trouble.onTrial && this.#clock.monotonic() >= trouble.untilMs;
  }

  /** An endpoint has been chosen. */
  chosen(endpoint: Endpoint): void {
    if (this.#troubles.size === 0) return;
    const trouble = this.#troubles.get(keyOf(endpoint));
    if (trouble !== undefined && trouble.untilMs > 0) trouble.onTrial = true;
  }

  /** A connection to the endpoint was opened. */
  succeeded(endpoint: Endpoint): void {
    if (this.#troubles.size === 0) return;
    const key = keyOf(endpoint);
    const trouble = this.#troubles.get(key);
    if (trouble === undefined) return;
    const wasOut = trouble.untilMs > 0;
    trouble.failures = 0;
    trouble.untilMs = 0;
    trouble.onTrial = false;
    // One that comes and goes waits longer each time, until it has been well for long.
    if (trouble.ejections === 0 || this.#clock.monotonic() - trouble.lastMs > REMEMBER_MS) this.#troubles.delete(key);
    if (!wasOut) return;
    this.#toldLastResort = new WeakSet();
    this.#events.onReadmitted(endpoint);
  }

  /** A connection to one of `group` could not be opened. `true` if another endpoint may be tried for it. */
  failed(endpoint: Endpoint, group: readonly Endpoint[], failure: Failure): boolean {
    const { who } = failure.traits;
    if (ANSWERS.has(failure.code) || mayBeLate(failure)) this.succeeded(endpoint);
    else if (who === "upstream") this.#count(endpoint, group, failure);
    else this.#giveUpTrial(endpoint);
    return mayTryElsewhere(failure);
  }

  /** The chosen one should have been left out, and so should all that are left. */
  usedLastResort(group: readonly Endpoint[]): void {
    if (this.#toldLastResort.has(group)) return;
    this.#toldLastResort.add(group);
    this.#events.onLastResort(group);
  }

  /** In words, why an endpoint is left out; `undefined` when it is not. */
  describe(endpoint: Endpoint): string | undefined {
    const trouble = this.#troubles.get(keyOf(endpoint));
    if (trouble === undefined || trouble.untilMs === 0) return undefined;
    const leftMs = trouble.untilMs - this.#clock.monotonic();
    const when = leftMs > 0 ? `for another ${Math.ceil(leftMs / 1_000)} s` : "until one connection to it succeeds";
    return `ejected ${when} after ${trouble.failures} failures in a row, the last ${trouble.failure.code}`;
  }

  /** Endpoints that are left out now, those that are due for a trial included. */
  get count(): number {
    let count = 0;
    for (const { untilMs } of this.#troubles.values()) if (untilMs > 0) count += 1;
    return count;
  }

  /** How often an endpoint was left out, since the start. */
  get total(): number {
    return this.#total;
  }

  #count(endpoint: Endpoint, group: readonly Endpoint[], failure: Failure): void {
    const now = this.#clock.monotonic();
    const key = keyOf(endpoint);
    let trouble = this.#troubles.get(key);
    if (trouble === undefined) {
      if (this.#troubles.size >= MAX_REMEMBERED) this.#forgetOldest();
      trouble = { failures: 0, ejections: 0, untilMs: 0, onTrial: false, failure, lastMs: now };
    } else if (now - trouble.lastMs > REMEMBER_MS) trouble.ejections = 0;
    // Put at the end: the first is the one that has not failed for longest.
    this.#troubles.delete(key);
    this.#troubles.set(key, trouble);
    trouble.failures += 1;
    trouble.failure = failure;
    trouble.lastMs = now;
    // Connections that were under way when it was left out, or a last resort, say nothing new.
    if (trouble.untilMs > now) {
      trouble.onTrial = false;
      return;
    }
    const isTrial = trouble.untilMs > 0;
    if (!isTrial && (trouble.failures < this.#limits.ejectAfter || !this.#hasShare(group, now))) return;
    const { ejectionMs, maxEjectionMs } = this.#limits;
    trouble.ejections += 1;
    this.#total += 1;
    trouble.onTrial = false;
    const shape = { baseMs: ejectionMs, capMs: maxEjectionMs };
    const forMs = backoffDelay(shape, trouble.ejections, Math.random());
    trouble.untilMs = now + forMs;
    this.#events.onEjected(endpoint, failure, forMs);
  }

  /** Whether one more of the group may be left out. */
  #hasShare(group: readonly Endpoint[], now: number): boolean {
    let out = 1;
    for (const endpoint of group) if ((this.#troubles.get(keyOf(endpoint))?.untilMs ?? 0) > now) out += 1;
    return out * 100 <= group.length * this.#limits.maxEjectedPercent;
  }

  #giveUpTrial(endpoint: Endpoint): void {
    const trouble = this.#troubles.get(keyOf(endpoint));
    if (trouble !== undefined) trouble.onTrial = false;
  }

  #forgetOldest(): void {
    const [oldest] = this.#troubles.keys();
    if (oldest !== undefined) this.#troubles.delete(oldest);
  }
}

/** `ip:port`, and through which tunnel. */
export function keyOf({ ip, port, authority }: Endpoint): string {
  return authority === undefined ? formatHostPort(ip, port) : `${authority} by ${formatHostPort(ip, port)}`;
}
