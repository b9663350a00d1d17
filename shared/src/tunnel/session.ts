// Machine. One session to a peer proxy, from the dial (`peer-dial.ts`) to its end: it is one state machine. Its state is one of five
// objects:
//
//   connecting -> ready -> draining -> closed
//        \-> failed  (never ready)
import { connect as connectHttp2 } from "node:http2";
import type { ClientHttp2Session } from "node:http2";
import type { Duplex } from "node:stream";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Identity } from "../identity/source.ts";
import { trustDomainOf } from "../identity/spiffe-id.ts";
import { sameBundle, sameRevocations } from "../identity/identity.ts";
import { keyGroupOf } from "../identity/key-group.ts";
import type { Compliance } from "../identity/tls.ts";
import { expectPeer, peerOfSocket } from "../identity/verify.ts";
import type { VerifiedPeer } from "../identity/verify.ts";
import type { Clock } from "../net/clock.ts";
import { formatHostPort } from "../net/ip.ts";
import { processMemory } from "../net/memory.ts";
import { Keepalive } from "./keepalive.ts";
import { agedAfter, STREAMS_BEFORE_RECYCLING } from "./limits.ts";
import type { TunnelLimits } from "./limits.ts";
import { openStream } from "./open-stream.ts";
import type { OpenTunnel, StreamRequest } from "./open-stream.ts";
import { PeerDial } from "./peer-dial.ts";
import { ProofLife } from "./proof-life.ts";
import { endsFor } from "./session-end.ts";
import { clientSessionOptions } from "./session-options.ts";
import type { TunnelTarget } from "./target.ts";

export interface TunnelSessionOptions {
  readonly target: TunnelTarget;
  /** The pool's key in full: whom we expect, and where. Our own identity beside it is `identity`. */
  readonly key: string;
  readonly identity: Identity;
  /** TLS options made of that identity. */
  readonly tls: ConnectionOptions;
  /** What they comply with. */
  readonly compliance: Compliance | undefined;
  readonly limits: TunnelLimits;
  readonly clock: Clock;
  /** What the session runs over; a TCP connection to the target when not given. Destroyed with the session. */
  readonly carrier?: Duplex;
  /** Concurrent streams to hold the peer to before its SETTINGS: what its last session said, if there was one. */
  readonly assumedPeerStreams: number;
  /** Called once, when the dial is over: the session is ready, or `failure` says why not. */
  readonly onDialled: (session: TunnelSession, failure: Failure | undefined) => void;
  /** Room for a stream may have become free. */
  readonly onRoom: (session: TunnelSession) => void;
  /** Called once, when a session that was ready is gone. */
  readonly onClosed: (session: TunnelSession, failure: Failure | undefined) => void;
}

interface Connecting {
  readonly kind: "connecting";
  readonly dial: PeerDial;
}
interface Live {
  readonly kind: "ready" | "draining";
  readonly session: ClientHttp2Session;
  readonly socket: TLSSocket;
  readonly peer: VerifiedPeer;
  readonly keyGroup: string | undefined;
  readonly keepalive: Keepalive;
  /** Ends with the first of both certificates. */
  readonly life: ProofLife;
  readonly sinceMs: number;
}
interface Failed {
  readonly kind: "failed";
}
interface Closed {
  readonly kind: "closed";
}
type State = Connecting | Live | Failed | Closed;

/** See the head of the file. The pool calls `tick` about once a second. */
export class TunnelSession {
  readonly key: string;
  readonly target: TunnelTarget;
  /** `ip:port` of the peer. */
  readonly remote: string;
  readonly #options: TunnelSessionOptions;
  #state: State;
  #streams = 0;
  #opened = 0;
  #answered = false;
  /** Concurrent streams that the peer allows; `undefined` before its SETTINGS. */
  #peerStreams: number | undefined;
  #acknowledged = false;
  #idleSinceMs: number;
  #replaceAtMs: number;
  /** The identity by whose bundles the peer was last verified. */
  #trusted: Identity;
  #failure: Failure | undefined;

  /** Starts the dial. */
  constructor(options: TunnelSessionOptions) {
    this.#options = options;
    this.key = options.key;
    this.target = options.target;
    this.remote = formatHostPort(options.target.ip, options.target.port);
    this.#idleSinceMs = options.clock.monotonic();
    this.#replaceAtMs = this.#idleSinceMs + agedAfter(options.limits, Math.random());
    this.#trusted = options.identity;
    this.#state = this.#connecting();
  }

  get kind(): State["kind"] {
    return this.#state.kind;
  }

  /** Streams open, being opened or reserved. */
  get streams(): number {
    return this.#streams;
  }

  /** Whether any request was ever answered on it: a session that never did is no success of a dial. */
  get answered(): boolean {
    return this.#answered;
  }

  /** Requests sent on it so far. */
  get opened(): number {
    return this.#opened;
  }

  /** Who the peer is; `undefined` unless the session lives. */
  get peer(): VerifiedPeer | undefined {
    return this.#state.kind === "ready" || this.#state.kind === "draining" ? this.#state.peer : undefined;
  }

  /** The group by which the keys were agreed; `undefined` unless the session lives and the runtime tells. */
  get keyGroup(): string | undefined {
    return this.#state.kind === "ready" || this.#state.kind === "draining" ? this.#state.keyGroup : undefined;
  }

  /** Concurrent streams that the peer allows, once it has said so. */
  get peerStreams(): number | undefined {
    return this.#peerStreams;
  }

  /** Our own identity, as the peer knows it. */
  get identity(): Identity {
    return this.#options.identity;
  }

  /** Most streams that may be open on it, as far as both sides have said. */
  get capacity(): number {
    return Math.min(this.#peerStreams ?? this.#options.assumedPeerStreams, this.#options.limits.maxStreamsPerSession);
  }

  /** Whether one more stream may be opened on it, by these times of the clock. */
  hasRoom(nowMs: number, monotonicMs: number): boolean {
    const state = this.#state;
    if (state.kind !== "ready" || state.life.hasEnded(nowMs, monotonicMs)) return false;
    return this.#streams < this.capacity && !state.session.closed && !state.session.destroyed;
  }

  /** Takes the place of one stream, which `hasRoom` has promised; then call `open` or `unreserve`. */
  reserve(): void {
    this.#streams += 1;
  }

  /** Whether another session should stand in for it by the monotonic time `nowMs`: it is old, or its identity is. */
  isDue(nowMs: number): boolean {
    return nowMs >= this.#replaceAtMs;
  }

  /** Milliseconds without a stream; 0 while there is one. */
  idleMs(nowMs: number): number {
    return this.#streams > 0 ? 0 : nowMs - this.#idleSinceMs;
  }

  /**
   * Our own identity, or whom we trust, has changed. A peer that is no longer trusted is cut off at once, and who we no longer
   * are asks for nothing more; a session whose certificate or bundle is another now serves on until another stands in for it,
   * some time in `rotationDrainMs`; and what it does not stand on changes nothing.
   */
  identityChanged(identity: Identity): void {
    const state = this.#state;
    if (state.kind !== "ready" && state.kind !== "draining") return;
    const { clock, limits } = this.#options;
    const bundleStays = sameBundle(trustDomainOf(state.peer.id), this.#trusted, identity);
    if (!bundleStays || !sameRevocations(this.#trusted.revocations, identity.revocations)) {
      const peer = peerOfSocket(state.socket, identity, state.life, "server");
      if (isFailure(peer)) return this.end(peer);
      state.life.renew(peer.notAfter);
    }
    this.#trusted = identity;
    if (identity.svid.id !== this.identity.svid.id) return this.drain();
    if (bundleStays && identity.svid.chainPem === this.identity.svid.chainPem) return;
    this.#replaceAtMs = Math.min(this.#replaceAtMs, clock.monotonic() + Math.random() * limits.rotationDrainMs);
  }

  /** Gives a place back. */
  unreserve(): void {
    this.#streams -= 1;
    if (this.#streams === 0) this.#idleSinceMs = this.#options.clock.monotonic();
    this.#options.onRoom(this);
  }

  /** Opens a tunnel in the reserved place; settles with the peer's answer. */
  open(request: StreamRequest): Promise<OpenTunnel | Failure> {
    const state = this.#state;
    if (state.kind !== "ready") {
      this.unreserve();
      return Promise.resolve(fail("PEER_REFUSED_STREAM", "the session ended before the request"));
    }
    this.#opened += 1;
    const opened = openStream({
      session: state.session,
      peer: state.peer,
      keyGroup: state.keyGroup,
      remote: this.remote,
      request,
      clock: this.#options.clock,
      answerTimeoutMs: this.#options.limits.answerTimeoutMs,
      onAnswer: () => {
        this.#answered = true;
      },
      onRefused: () => this.#onRefused(),
      sessionFailure: () => this.#failure,
      onClose: () => this.unreserve(),
    });
    if (this.#opened >= STREAMS_BEFORE_RECYCLING) this.drain();
    return opened;
  }

  /** Takes no more streams; those that are open go on, and the last one takes the session with it. */
  drain(): void {
    const state = this.#state;
    if (state.kind !== "ready") return;
    this.#state = { ...state, kind: "draining" };
    state.session.close();
  }

  /** Ends it now; every stream is reset. */
  end(failure: Failure): void {
    const state = this.#state;
    if (state.kind === "failed" || state.kind === "closed") return;
    if (state.kind === "connecting") {
      this.#failed(failure);
      return;
    }
    if (failure.code === "DRAINING" && this.#streams === 0) {
      // Nothing is cut short: an end in order, which neither side has to mind.
      state.session.close();
      return;
    }
    this.#close(failure);
    endsFor(state.session, failure);
    // Without an error the runtime would end the streams in order, and what was cut short would look whole.
    state.session.destroy(new Error(failure.toString()), failure.traits.resetCode);
    state.socket.destroy();
  }

  /** Looks at everything that has a deadline. `kept` sessions do not rest for want of streams. */
  tick(kept: boolean): void {
    const state = this.#state;
    if (state.kind !== "ready" && state.kind !== "draining") return;
    const { limits, clock } = this.#options;
    const ageMs = clock.monotonic() - state.sinceMs;
    const { due } = state.life;
    if (due === "drain") this.drain();
    if (due === "end") {
      this.end(fail("IDENTITY_EXPIRED", `a certificate of the session with ${state.peer.id}`));
    } else if (ageMs >= limits.settingsTimeoutMs && (!this.#acknowledged || this.#peerStreams === undefined)) {
      this.end(fail("PEER_PROTOCOL_ERROR", `${this.remote}: no SETTINGS exchange in ${limits.settingsTimeoutMs} ms`));
    } else if (!state.keepalive.tick()) {
      this.end(fail("PEER_LOST", `${this.remote} does not answer PING`));
    } else if (!kept && this.idleMs(clock.monotonic()) >= limits.idleSessionMs) {
      this.drain();
    }
  }

  #connecting(): Connecting {
    const { target, tls, compliance, limits, clock, carrier } = this.#options;
    const dial = new PeerDial({
      target,
      remote: this.remote,
      tls,
      compliance,
      limits,
      clock,
      carrier,
      onSecure: (socket) => this.#secured(socket),
      onFailed: (failure) => this.#failed(failure),
    });
    return { kind: "connecting", dial };
  }

  /** The handshake is over: who is it, on this very certificate? Only then is HTTP/2 spoken. */
  #secured(socket: TLSSocket): void {
    const { identity, target, clock, onDialled } = this.#options;
    const peer = peerOfSocket(socket, identity, clock, "server");
    if (isFailure(peer)) return this.#failed(peer);
    const wrong = expectPeer(peer, target.expected, identity);
    if (wrong !== undefined) return this.#failed(wrong);
    if (this.#state.kind === "connecting") this.#state.dial.exit();
    this.#state = this.#ready(socket, peer);
    processMemory.handshakeEnded();
    onDialled(this, undefined);
  }

  #ready(socket: TLSSocket, peer: VerifiedPeer): Live {
    const { identity, limits, clock } = this.#options;
    const session = connectHttp2("https://tunnel.invalid", {
      ...clientSessionOptions(limits),
      createConnection: () => socket,
    });
    let reason: Failure | undefined;
    session.on("error", (error) => {
      reason ??= fail("PEER_PROTOCOL_ERROR", `${this.remote}: ${error.message}`);
      socket.destroy();
    });
    session.setLocalWindowSize(limits.connectionWindow);
    session.on("localSettings", () => {
      this.#acknowledged = true;
    });
    session.on("remoteSettings", (settings) => this.#onSettings(settings.maxConcurrentStreams ?? Infinity));
    // The runtime closes the session itself; here it leaves the pool, before anybody is handed a stream of it.
    session.on("goaway", () => this.drain());
    session.on("close", () => {
      socket.destroy();
      this.#close(reason ?? this.#turnedAway());
    });
    return {
      kind: "ready",
      session,
      socket,
      peer,
      keyGroup: keyGroupOf(socket),
      keepalive: new Keepalive(session, limits, clock),
      life: new ProofLife(clock, Math.min(peer.notAfter, identity.svid.notAfter), limits.expiredPeerGraceMs),
      sinceMs: clock.monotonic(),
    };
  }

  /**
   * In TLS 1.3 a client is done with its handshake before the server has looked at its certificate: one that is closed
   * before the first frame was turned away, and all that it can know is that.
   */
  #turnedAway(): Failure | undefined {
    if (this.#peerStreams !== undefined) return undefined;
    return fail(
      "PEER_TLS_FAILURE",
      `${this.remote}: closed right after the handshake; it may not trust our certificate`,
    );
  }

  #onSettings(maxConcurrentStreams: number): void {
    const before = this.#peerStreams;
    this.#peerStreams = maxConcurrentStreams;
    if (maxConcurrentStreams === 0) {
      // A peer that allows none from the start will answer nothing of what waits for it. One that takes back what it has granted
      // wants no more for now: what is open goes on (RFC 9113 section 5.1.2).
      const live = before !== undefined && this.#streams > 0;
      if (!live) this.end(fail("PEER_REFUSED_STREAM", `${this.remote} allows no streams`));
    } else if (maxConcurrentStreams > (before ?? 0)) this.#options.onRoom(this);
  }

  /** More than the peer's limit were opened before its SETTINGS came: no wonder. Else it knows something that we do not. */
  #onRefused(): void {
    if (this.#peerStreams === undefined || this.#streams <= this.#peerStreams) this.drain();
  }

  #failed(failure: Failure): void {
    const state = this.#state;
    if (state.kind !== "connecting") return;
    state.dial.end();
    this.#state = { kind: "failed" };
    this.#options.onDialled(this, failure);
  }

  #close(failure: Failure | undefined): void {
    if (this.#state.kind !== "ready" && this.#state.kind !== "draining") return;
    this.#state = { kind: "closed" };
    this.#failure = failure;
    this.#options.onClosed(this, failure);
  }
}
