// Machine. The live tunnels of this process: registered before anything is decided, so that a change of policy that comes
// in between is seen; ended when a change forbids them or when the caller's certificate has expired.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import type { MeshView } from "../mesh/view.ts";
import type { Tunnel } from "./tunnel.ts";

/** How often expiry is looked for. */
const SWEEP_MS = 1_000;

/** What serves a tunnel, phase by phase. */
export interface TunnelUser {
  /** Why what is in progress may not go on under `view`; `undefined` when it may. */
  recheck(view: MeshView): Failure | undefined;
  /** Ends the tunnel at once. */
  end(failure: Failure): void;
  /** Ends it as soon as nothing is in progress. */
  drain(): void;
  /** Brings counters up to date before they are read. */
  progress(): void;
}

/** One entry of the registry. */
export class LiveTunnel {
  readonly tunnel: Tunnel;
  /** What is spoken inside, once it is known: `http`, `tcp`. */
  protocol: string = "undecided";
  #user: TunnelUser | undefined;
  #ended: Failure | undefined;

  constructor(tunnel: Tunnel) {
    this.tunnel = tunnel;
  }

  /** Why it was ended from outside. */
  get ended(): Failure | undefined {
    return this.#ended;
  }

  /** Hands the tunnel to its next phase, which is ended at once if the tunnel has been. */
  serve(user: TunnelUser): void {
    this.#user = user;
    if (this.#ended !== undefined) user.end(this.#ended);
  }

  recheck(view: MeshView): void {
    const failure = this.#user?.recheck(view);
    if (failure !== undefined) this.end(failure);
  }

  end(failure: Failure): void {
    if (this.#ended !== undefined) return;
    this.#ended = failure;
    this.#user?.end(failure);
  }

  drain(): void {
    this.#user?.drain();
  }

  progress(): void {
    this.#user?.progress();
  }
}

/** All live tunnels. */
export class LiveTunnels {
  readonly #live = new Set<LiveTunnel>();
  readonly #clock: Clock;
  readonly #sweep: Timer;
  #whenEmpty: (() => void)[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sweep = clock.every(SWEEP_MS, () => this.#endExpired());
  }

  get size(): number {
    return this.#live.size;
  }

  register(tunnel: Tunnel): LiveTunnel {
    const live = new LiveTunnel(tunnel);
    this.#live.add(live);
    return live;
  }

  release(live: LiveTunnel): void {
    this.#live.delete(live);
    if (this.#live.size > 0) return;
    for (const resume of this.#whenEmpty.splice(0)) resume();
  }

  /** Asks every tunnel whether it may go on under a new view. */
  recheck(view: MeshView): void {
    for (const live of this.#live) live.recheck(view);
  }

  drain(): void {
    for (const live of this.#live) live.drain();
  }

  progress(): void {
    for (const live of this.#live) live.progress();
  }

  /** Ends all tunnels and stops looking after them. */
  close(failure: Failure): void {
    this.#sweep.cancel();
    for (const live of this.#live) live.end(failure);
  }

  /** Resolves once no tunnel is live. */
  empty(): Promise<void> {
    if (this.#live.size === 0) return Promise.resolve();
    return new Promise((resume) => this.#whenEmpty.push(resume));
  }

  [Symbol.iterator](): Iterator<LiveTunnel> {
    return this.#live.values();
  }

  #endExpired(): void {
    const now = this.#clock.now();
    for (const live of this.#live) {
      const { peer } = live.tunnel.request;
      if (now > peer.notAfter) live.end(fail("IDENTITY_EXPIRED", `the certificate of ${peer.id} has expired`));
    }
  }
}
