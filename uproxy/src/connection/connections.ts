// Machine. The live connections of this process: registered before anything is decided, so that a change of policy or
// trust that comes in between is seen; ended when one no longer permits them.
import type { Demanded } from "@culvert/shared/config/snapshot.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";

/** What is known of a connection from its first moment. */
export interface ConnectionInfo {
  readonly direction: "inbound" | "outbound";
  /** The facts that inbound policy decides by; `undefined` for outbound connections. */
  readonly facts: ConnectionFacts | undefined;
  /** `ip:port` of the other end of what was accepted. */
  readonly source: string;
  /** What was asked for, `host:port`. */
  readonly destination: string;
  /** Where an outbound connection goes, for whoever must know what is in use; absent for inbound ones. */
  readonly to?: Demanded;
  /** Monotonic milliseconds. */
  readonly startedAt: number;
}

/** One live connection. */
export class LiveConnection {
  readonly id: string;
  readonly info: ConnectionInfo;
  /** Bytes so far, as the pump counts them; `undefined` before bytes can flow. */
  bytes: { readonly fromSocket: number; readonly toSocket: number } | undefined;
  #cut: ((failure: Failure) => void) | undefined;
  #ended: Failure | undefined;

  constructor(id: string, info: ConnectionInfo) {
    this.id = id;
    this.info = info;
  }

  /** Why the connection was ended from outside; `undefined` while it may go on. */
  get ended(): Failure | undefined {
    return this.#ended;
  }

  /** Says how the connection is cut in its present phase; called at once if it has already been ended. */
  onEnd(cut: (failure: Failure) => void): void {
    this.#cut = cut;
    if (this.#ended !== undefined) cut(this.#ended);
  }

  /** Ends the connection for `failure`; the first reason stays. */
  end(failure: Failure): void {
    if (this.#ended !== undefined) return;
    this.#ended = failure;
    this.#cut?.(failure);
  }
}

/** All live connections of the process. */
export class Connections {
  readonly #live = new Set<LiveConnection>();
  readonly #makeId: () => string;
  #whenEmpty: (() => void)[] = [];
  #whenQuiet: (() => void)[] = [];

  constructor(makeId: () => string) {
    this.#makeId = makeId;
  }

  get size(): number {
    return this.#live.size;
  }

  /** How many are live, by direction. */
  counts(): { readonly inbound: number; readonly outbound: number } {
    let inbound = 0;
    for (const connection of this.#live) if (connection.info.direction === "inbound") inbound += 1;
    return { inbound, outbound: this.#live.size - inbound };
  }

  register(info: ConnectionInfo): LiveConnection {
    const connection = new LiveConnection(this.#makeId(), info);
    this.#live.add(connection);
    return connection;
  }

  release(connection: LiveConnection): void {
    this.#live.delete(connection);
    if (this.#whenQuiet.length > 0 && this.counts().inbound === 0) {
      for (const resume of this.#whenQuiet.splice(0)) resume();
    }
    if (this.#live.size > 0) return;
    for (const resume of this.#whenEmpty.splice(0)) resume();
  }

  /** Asks `judge` about each inbound connection anew and ends those it fails; returns how many. */
  recheck(judge: (facts: ConnectionFacts) => Failure | undefined): number {
    let ended = 0;
    for (const connection of this.#live) {
      if (connection.info.facts === undefined || connection.ended !== undefined) continue;
      const failure = judge(connection.info.facts);
      if (failure === undefined) continue;
      connection.end(failure);
      ended += 1;
    }
    return ended;
  }

  /** The destinations of all outbound connections, as often as there are some. */
  *destinations(): Generator<Demanded> {
    for (const { info } of this.#live) if (info.to !== undefined) yield info.to;
  }

  endAll(failure: Failure): void {
    for (const connection of this.#live) connection.end(failure);
  }

  /** Resolves once no connection is live, or none of callers. */
  empty(direction?: "inbound"): Promise<void> {
    if (this.#live.size === 0 || (direction === "inbound" && this.counts().inbound === 0)) return Promise.resolve();
    const waiting = direction === "inbound" ? this.#whenQuiet : this.#whenEmpty;
    return new Promise((resume) => waiting.push(resume));
  }

  [Symbol.iterator](): Iterator<LiveConnection> {
    return this.#live.values();
  }
}
