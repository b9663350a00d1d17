// Machine. The live tunnels of this process: registered before anything is decided, so that a change of policy that comes
// in between is seen; ended when a change forbids them.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import type { MeshView } from "../mesh/view.ts";
import { standingOf, type Standing } from "./standing.ts";
import type { Tunnel } from "./tunnel.ts";

/** What serves a tunnel, phase by phase. */
export interface TunnelUser {
  /** Why what is in progress may not go on under `view`; `undefined` when it may. */
  recheck(view: MeshView): Failure | undefined;
  /** Ends the tunnel at once. */
  end(failure: Failure): void;
  /** Ends it as soon as nothing is in progress. @param withinMs how long a client at rest has for one more request; soon */
  drain(withinMs?: number): void;
  /** Bytes carried so far, where they are counted for the tunnel as a whole. */
  readonly bytes?: { readonly fromClient: number; readonly toClient: number } | undefined;
}

/** How a tunnel ends whose destination is behind another waypoint now. */
export interface Leaving {
  /** How long a client at rest has for the request that it is told to go elsewhere with. */
  readonly restMs: number;
  /** How long what is in progress may go on where nobody tells this waypoint of changes any more. */
  readonly untoldMs: number;
}

/** One entry of the registry. */
export class LiveTunnel {
  readonly tunnel: Tunnel;
  /** What is spoken inside, once it is known: `http`, `tcp`. */
  protocol: string = "undecided";
  #user: TunnelUser | undefined;
  /** What the last view that knew its destination meant for it. */
  #standing: Standing | undefined;
  /** Set while its destination is behind another waypoint. */
  #leaving: Leaving | undefined;
  #lastCall: Timer | undefined;
  #ended: Failure | undefined;

  constructor(tunnel: Tunnel) {
    this.tunnel = tunnel;
  }

  /** Why it was ended from outside. */
  get ended(): Failure | undefined {
    return this.#ended;
  }

  /** What a view means for it. */
  stand(view: MeshView): Standing | Failure {
    const standing = standingOf(view, this.tunnel, this.#standing);
    if (!isFailure(standing)) this.#standing = standing;
    return standing;
  }

  /** Once another waypoint stands before its destination: it ends in order, and soon where nobody tells us of changes. */
  leave(clock: Clock, leaving: Leaving): void {
    const left = this.#standing?.left;
    if (left !== undefined && this.#leaving === undefined) this.#user?.drain(leaving.restMs);
    this.#leaving = left === undefined ? undefined : leaving;
    if (left !== undefined && !left.isKnown) {
      const gone = fail("DESTINATION_UNKNOWN", "its destination is not behind this waypoint any more");
      this.#lastCall ??= clock.after(leaving.untoldMs, () => this.end(gone));
    } else this.stay();
  }

  /** It need not end by itself any more. */
  stay(): void {
    this.#lastCall?.cancel();
    this.#lastCall = undefined;
  }

  /** Hands the tunnel to its next phase, which is ended at once if the tunnel has been. */
  serve(user: TunnelUser): void {
    this.#user = user;
    if (this.#ended !== undefined) user.end(this.#ended);
    else if (this.#leaving !== undefined) user.drain(this.#leaving.restMs);
  }

  /** Whether it has been ended by this. */
  recheck(view: MeshView): boolean {
    if (this.#ended !== undefined) return false;
    const failure = this.#user?.recheck(view);
    if (failure === undefined) return false;
    this.end(failure);
    return true;
  }

  end(failure: Failure): void {
    if (this.#ended !== undefined) return;
    this.#ended = failure;
    this.#user?.end(failure);
  }

  drain(): void {
    this.#user?.drain();
  }

  get bytes(): TunnelUser["bytes"] {
    return this.#user?.bytes;
  }
}

/** All live tunnels. */
export class LiveTunnels {
  readonly #live = new Set<LiveTunnel>();
  readonly #clock: Clock;
  readonly #leaving: Leaving;
  #whenEmpty: (() => void)[] = [];

  constructor(clock: Clock, leaving: Leaving) {
    this.#clock = clock;
    this.#leaving = leaving;
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
    live.stay();
    if (this.#live.size > 0) return;
    for (const resume of this.#whenEmpty.splice(0)) resume();
  }

  /** Asks every tunnel whether it may go on under a new view; returns how many may not, and were ended. */
  recheck(view: MeshView): number {
    let ended = 0;
    for (const live of this.#live) {
      if (live.recheck(view)) ended += 1;
      else live.leave(this.#clock, this.#leaving);
    }
    return ended;
  }

  drain(): void {
    for (const live of this.#live) live.drain();
  }

  endAll(failure: Failure): void {
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
}
