// Machine. The live tunnels of this process: registered before anything is decided, so that a change of policy that comes
// in between is seen; ended when a change forbids them.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { MeshView } from "../mesh/view.ts";
import type { Tunnel } from "./tunnel.ts";

/** What serves a tunnel, phase by phase. */
export interface TunnelUser {
  /** Why what is in progress may not go on under `view`; `undefined` when it may. */
  recheck(view: MeshView): Failure | undefined;
  /** Ends the tunnel at once. */
  end(failure: Failure): void;
  /** Ends it as soon as nothing is in progress. */
  drain(): void;
  /** Bytes carried so far, where they are counted for the tunnel as a whole. */
  readonly bytes?: { readonly fromClient: number; readonly toClient: number } | undefined;
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
  #whenEmpty: (() => void)[] = [];

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

  /** Asks every tunnel whether it may go on under a new view; returns how many may not, and were ended. */
  recheck(view: MeshView): number {
    let ended = 0;
    for (const live of this.#live) if (live.recheck(view)) ended += 1;
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
