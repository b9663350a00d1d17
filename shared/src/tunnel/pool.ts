// Machine. The sessions to peer proxies. Their key is {own identity version, expected identities, address}, compared in
// full; one dial per key at a time, shared by all who wait; the tunnels to a busy peer are spread over several sessions, and
// old sessions are replaced before they go; what the peer has certainly not acted on is tried again, here and nowhere else.
import type { Duplex } from "node:stream";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure, FailureCode } from "../failure/failure.ts";
import type { IdentitySource } from "../identity/source.ts";
import { TlsContexts } from "../identity/tls.ts";
import type { Compliance } from "../identity/tls.ts";
import type { Clock, Timer } from "../net/clock.ts";
import type { TunnelLimits } from "./limits.ts";
import type { OpenTunnel, StreamRequest } from "./open-stream.ts";
import { carrierOver } from "./carrier.ts";
import { tunnelDuplex } from "./duplex.ts";
import { PoolLine } from "./pool-line.ts";
import { PoolShares, type PoolUser } from "./pool-shares.ts";
import { stalledTunnels } from "./stalled.ts";
import { TunnelSession } from "./session.ts";
import type { TunnelGateway, TunnelTarget } from "./target.ts";

export type { OpenTunnel } from "./open-stream.ts";
export type { TunnelGateway, TunnelTarget } from "./target.ts";

/** Before a 200 no byte of the application has been sent: refused by a full peer, or lost in the race with its GOAWAY. */
const RETRIABLE: ReadonlySet<FailureCode> = new Set<FailureCode>(["PEER_REFUSED_STREAM", "PEER_LOST"]);
const MAX_TRIES = 3;
/** How often sessions are looked at; the finest deadline is five seconds. */
const TICK_MS = 1_000;

/** What the operator may want to know. */
export interface PoolEvent {
  readonly kind: "session-opened" | "session-failed" | "session-ended";
  /** `ip:port` of the peer. */
  readonly remote: string;
  /** Of a session that was opened: the group by which its keys were agreed, if the runtime tells. */
  readonly keyGroup?: string | undefined;
  readonly failure: Failure | undefined;
}

export interface TunnelPoolOptions {
  readonly identity: IdentitySource;
  readonly compliance?: Compliance | undefined;
  readonly limits: TunnelLimits;
  readonly clock: Clock;
  readonly onEvent: (event: PoolEvent) => void;
}

export interface PoolStats {
  /** Peers that the pool knows. */
  readonly keys: number;
  readonly sessions: number;
  readonly streams: number;
  /** Dials under way. */
  readonly dials: number;
  /** Callers that wait for a place. */
  readonly waiting: number;
  /** Sessions that were opened since the start. */
  readonly opened: number;
  /** Dials that failed since the start. */
  readonly failed: number;
}

/** See the head of the file. */
export class TunnelPool {
  readonly #options: TunnelPoolOptions;
  readonly #contexts: TlsContexts;
  readonly #shares: PoolShares;
  readonly #lines = new Map<string, PoolLine>();
  #warm: ReadonlySet<string> = new Set();
  readonly #stopWatching: () => void;
  #tick: Timer | undefined;
  #draining = false;
  #opened = 0;
  #failed = 0;

  constructor(options: TunnelPoolOptions) {
    this.#options = options;
    this.#contexts = new TlsContexts(options.identity, options.compliance);
    this.#shares = new PoolShares({ limits: options.limits, yieldIdle: () => this.#yieldIdle() });
    this.#stopWatching = options.identity.onChange((identity) => {
      for (const line of this.#lines.values()) line.identityChanged(identity);
    });
  }

  /**
   * Opens a tunnel; settles only after the peer's answer. Beside the failures of `openStream`: those of the dial
   * (PEER_REFUSED, PEER_TIMEOUT, PEER_UNREACHABLE, PEER_TLS_FAILURE, IDENTITY_*), TOO_MANY_WAITERS, OVERLOADED and DRAINING.
   *
   * @param user for whom, where the pool is used for several
   */
  async open(target: TunnelTarget, request: StreamRequest, user?: PoolUser): Promise<OpenTunnel | Failure> {
    if (this.#draining) return fail("DRAINING", "no new tunnels");
    const overloaded = stalledTunnels.shed(this.#options.limits);
    if (overloaded !== undefined) return overloaded;
    const line = this.#line(target);
    if (target.via !== undefined) line.spreadOver(target.via.peers);
    if (target.via !== undefined && line.sessions.size === 0) {
      // Dialled first, so that dials under way never wait for places that they hold themselves.
      const outer = await this.#line(gatewayOf(target, target.via)).session(user);
      if (isFailure(outer)) return outer;
      outer.unreserve();
    }
    for (let tries = 1; ; tries++) {
      const session = line.session(user);
      const reserved = session instanceof Promise ? await session : session;
      if (isFailure(reserved)) return reserved;
      const opened = await reserved.open(request);
      if (!isFailure(opened) || tries === MAX_TRIES || !RETRIABLE.has(opened.code)) return opened;
    }
  }

  /** Keeps one session ready to each of these targets, from now on and to no others. */
  keepWarm(targets: readonly TunnelTarget[]): void {
    if (this.#draining) return;
    const wanted = new Map(targets.map((target) => [targetKey(target), target]));
    for (const key of this.#warm) if (!wanted.has(key)) this.#lines.get(key)?.keepWarm(false);
    this.#warm = new Set(wanted.keys());
    for (const target of wanted.values()) this.#line(target).keepWarm(true);
  }

  /** Tunnels open or being opened to that target. */
  inFlight(target: TunnelTarget): number {
    return this.#lines.get(targetKey(target))?.inFlight ?? 0;
  }

  stats(): PoolStats {
    let sessions = 0;
    let streams = 0;
    for (const line of this.#lines.values()) {
      sessions += line.sessions.size;
      for (const session of line.sessions) streams += session.streams;
    }
    return {
      keys: this.#lines.size,
      sessions,
      streams,
      dials: this.#shares.dials,
      waiting: this.#shares.waiting,
      opened: this.#opened,
      failed: this.#failed,
    };
  }

  /** Takes no new requests; open tunnels go on, and their sessions end with them. */
  drain(): void {
    this.#draining = true;
    for (const line of this.#lines.values()) line.retire();
  }

  /** Ends everything at once. */
  close(): void {
    this.#draining = true;
    this.#stopWatching();
    for (const line of this.#lines.values()) line.end(fail("DRAINING", "the pool is closed"));
    this.#lines.clear();
    this.#tick?.cancel();
    this.#tick = undefined;
  }

  #line(target: TunnelTarget): PoolLine {
    const key = targetKey(target);
    const known = this.#lines.get(key);
    if (known !== undefined) return known;
    const { identity, limits, clock } = this.#options;
    const line = new PoolLine({
      key,
      limits,
      clock,
      shares: this.#shares,
      identity: () => identity.get(),
      dial: (dialled) => this.#dial(target, key, dialled),
    });
    this.#lines.set(key, line);
    this.#tick ??= clock.every(TICK_MS, () => this.#look());
    return line;
  }

  #dial(target: TunnelTarget, key: string, line: PoolLine): TunnelSession | Failure {
    const { limits, clock, onEvent } = this.#options;
    const identity = this.#options.identity.get();
    if (!(target.port >= 1 && target.port <= 65_535)) return fail("PEER_UNREACHABLE", `port ${target.port}`);
    if (clock.now() >= identity.svid.notAfter) return fail("IDENTITY_EXPIRED", "our own certificate");
    return new TunnelSession({
      target,
      key,
      identity,
      tls: this.#contexts.clientOptions(),
      compliance: this.#options.compliance,
      ...(target.via === undefined ? {} : { carrier: this.#carrier(target, target.via) }),
      limits,
      clock,
      assumedPeerStreams: line.peerStreams ?? limits.assumedPeerStreams,
      onDialled: (session, failure) => {
        line.dialled(session, failure);
        if (failure === undefined) this.#opened += 1;
        else if (failure.code !== "DRAINING") this.#failed += 1;
        const kind = failure === undefined ? "session-opened" : "session-failed";
        onEvent({ kind, remote: session.remote, keyGroup: session.keyGroup, failure });
      },
      onRoom: () => line.serve(),
      onClosed: (session, failure) => {
        line.closed(session, failure);
        onEvent({ kind: "session-ended", remote: session.remote, failure });
      },
    });
  }

  /** A tunnel to the gateway, for a session inside it. */
  #carrier(target: TunnelTarget, via: TunnelGateway): Duplex {
    return carrierOver(async () => {
      const outer = await this.open(gatewayOf(target, via), { authority: via.authority, headers: {} });
      return isFailure(outer) ? outer : tunnelDuplex(outer.stream);
    });
  }

  #yieldIdle(): boolean {
    for (const line of this.#lines.values()) if (line.yieldIdle()) return true;
    return false;
  }

  #look(): void {
    for (const [key, line] of this.#lines) {
      line.tick();
      if (line.empty) this.#lines.delete(key);
    }
    if (this.#lines.size > 0) return;
    this.#tick?.cancel();
    this.#tick = undefined;
  }
}

/** No part can contain a space: addresses, ports, SPIFFE IDs and authorities have none. */
function targetKey(target: TunnelTarget): string {
  const { ip, port, expected, via } = target;
  const key = `${ip} ${port} ${expected.length === 1 ? expected[0] : expected.join(" ")}`;
  return via === undefined ? key : `${key} via ${via.authority} ${via.expected.join(" ")}`;
}

/** The gateway as a target of its own. */
function gatewayOf({ ip, port }: TunnelTarget, { expected }: TunnelGateway): TunnelTarget {
  return { ip, port, expected };
}
