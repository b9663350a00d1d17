// Machine. Asks a session whether it still lives: a path that drops everything sends no other sign.
import type { Http2Session } from "node:http2";
import type { Clock } from "../net/clock.ts";
import type { TunnelLimits } from "./limits.ts";

/** How often an owner ticks, with the lateness of an ordinary timer. */
const TICK_MS = 1_500;

/** The questions to one session, one at a time. It has no timer: its owner ticks. */
export class Keepalive {
  readonly #session: Http2Session;
  readonly #limits: TunnelLimits;
  readonly #clock: Clock;
  #lastMs: number;
  #tickedMs: number;
  #waiting = false;
  #bytesRead = 0;

  constructor(session: Http2Session, limits: TunnelLimits, clock: Clock) {
    this.#session = session;
    this.#limits = limits;
    this.#clock = clock;
    this.#lastMs = clock.monotonic();
    this.#tickedMs = this.#lastMs;
  }

  /** Sends a PING when one is due. `false` when the peer owes an answer for too long and sends nothing else: the session is dead. */
  tick(): boolean {
    const now = this.#clock.monotonic();
    const lateMs = now - this.#tickedMs - TICK_MS;
    this.#tickedMs = now;
    // Without a processor, or stopped, we read no answers: that time is not the peer's.
    if (this.#waiting && lateMs > 0) this.#lastMs += lateMs;
    if (this.#session.destroyed || this.#session.connecting) return true;
    const quietMs = now - this.#lastMs;
    if (this.#waiting) {
      if (quietMs < this.#limits.pingTimeoutMs) return true;
      // On a narrow path the answer stands in line behind megabytes that the kernel has taken; that they come is as good.
      const alive = this.#session.socket.bytesRead !== this.#bytesRead;
      this.#note();
      return alive;
    }
    if (quietMs < this.#limits.pingIntervalMs) return true;
    this.#waiting = true;
    this.#note();
    // On an error the session is ending by itself, and there is nothing more to ask.
    const answered = (error: Error | null): void => {
      this.#waiting = error !== null;
    };
    // The runtime sends no PING once a session is closing, though its streams may live for days; SETTINGS are answered too.
    if (this.#session.closed) this.#session.settings({}, answered);
    else this.#session.ping(answered);
    return true;
  }

  #note(): void {
    this.#lastMs = this.#clock.monotonic();
    this.#bytesRead = this.#session.socket.bytesRead;
  }
}
