// Machine. One accepted session of one verified peer: its streams, its guard, its deadlines and its end.
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import { fail, isFailure, RESET_PROTOCOL_ERROR } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import { sameBundle, sameRevocations } from "../identity/identity.ts";
import type { Identity } from "../identity/source.ts";
import { trustDomainOf } from "../identity/spiffe-id.ts";
import { peerOfSocket } from "../identity/verify.ts";
import type { VerifiedPeer } from "../identity/verify.ts";
import type { Clock } from "../net/clock.ts";
import type { Endpoint } from "../net/endpoint.ts";
import { processMemory } from "../net/memory.ts";
import { processMemoryCap } from "../net/memory-cap.ts";
import { SessionGuard } from "./guard.ts";
import { Keepalive } from "./keepalive.ts";
import type { TunnelLimits } from "./limits.ts";
import { AcceptedRequest, AuthorityCache, readRequestHead, refuseStream } from "./request.ts";
import type { TunnelRequest } from "./request.ts";
import type { PeerShare, PeerShares } from "./peer-shares.ts";
import { ProofLife } from "./proof-life.ts";
import { cutOff, sayFarewell } from "./session-end.ts";
import { mergeSmallFrames } from "./small-frames.ts";
import { stalledTunnels } from "./stalled.ts";
import { resetStream } from "./reset-stream.ts";

export interface ServerSessionOptions {
  readonly session: ServerHttp2Session;
  readonly socket: TLSSocket;
  readonly peer: VerifiedPeer;
  /** The group by which the keys were agreed, if the runtime tells. */
  readonly keyGroup: string | undefined;
  /** Our own identity, by whose bundles the peer was verified. */
  readonly identity: Identity;
  readonly source: Endpoint;
  readonly local: Endpoint;
  readonly limits: TunnelLimits;
  readonly clock: Clock;
  readonly shares: PeerShares;
  /** What the peer's identity holds. */
  readonly share: PeerShare;
  readonly onRequest: (request: TunnelRequest) => void;
  readonly onRefused: (session: ServerSession, failure: Failure) => void;
  /** Called once; `undefined` when the peer went away in order. */
  readonly onEnd: (session: ServerSession, failure: Failure | undefined) => void;
}

/** See the head of the file. Its owner calls `tick` about once a second. */
export class ServerSession {
  readonly peer: VerifiedPeer;
  readonly keyGroup: string | undefined;
  readonly source: Endpoint;
  readonly local: Endpoint;
  readonly #options: ServerSessionOptions;
  readonly #session: ServerHttp2Session;
  readonly #guard: SessionGuard;
  readonly #keepalive: Keepalive;
  /** Ends with the first of both certificates. */
  readonly #life: ProofLife;
  readonly #authorities = new AuthorityCache();
  #streams = 0;
  #failure: Failure | undefined;
  #over = false;
  #retireAtMs = Infinity;
  #askedForLife = false;
  /** The identity by whose bundles the peer was last verified. */
  #trusted: Identity;

  constructor(options: ServerSessionOptions) {
    const { session, socket, peer, source, local, limits, clock, identity } = options;
    this.#options = options;
    this.#trusted = identity;
    const notAfter = Math.min(peer.notAfter, identity.svid.notAfter);
    this.#life = new ProofLife(clock, notAfter, limits.expiredPeerGraceMs);
    this.#session = session;
    this.peer = peer;
    this.keyGroup = options.keyGroup;
    this.source = source;
    this.local = local;
    this.#guard = new SessionGuard(limits, clock);
    this.#keepalive = new Keepalive(session, limits, clock);
    session.on("error", (error: NodeJS.ErrnoException) => {
      // The library's own verdict on the peer's frames, or else the peer or its connection went away.
      const broke = error.code === "ERR_HTTP2_ERROR";
      this.#failure ??= fail(broke ? "MISBEHAVING_PEER" : "DOWNSTREAM_CLOSED", `HTTP/2: ${error.message}`);
      socket.destroy();
    });
    session.on("close", () => {
      this.#over = true;
      socket.destroy();
      options.onEnd(this, this.#failure);
    });
    session.on("localSettings", () => this.#guard.settingsAcknowledged());
    session.on("stream", (stream, headers, _flags, rawHeaders) => this.#onStream(stream, headers, rawHeaders));
    session.setLocalWindowSize(limits.connectionWindow);
    processMemory.handshakeEnded();
  }

  /** Streams open now. */
  get streams(): number {
    return this.#streams;
  }

  /** No more streams: GOAWAY; those that are open go on, and the last one takes the session with it. */
  drain(): void {
    this.#session.close();
  }

  /**
   * Our own identity, or whom we trust, has changed: a peer that is no longer trusted is cut off at once; one whose session
   * stands on another certificate or bundle now is told to come back some time in `rotationDrainMs`, so that they never all
   * come back together.
   */
  identityChanged(identity: Identity): void {
    const { socket, clock, limits, identity: own } = this.#options;
    if (this.#over) return;
    const bundleStays = sameBundle(trustDomainOf(this.peer.id), this.#trusted, identity);
    if (!bundleStays || !sameRevocations(this.#trusted.revocations, identity.revocations)) {
      const peer = peerOfSocket(socket, identity, this.#life, "client");
      if (isFailure(peer)) return this.end(peer);
      this.#life.renew(peer.notAfter);
    }
    this.#trusted = identity;
    if (bundleStays && identity.svid.chainPem === own.svid.chainPem) return;
    this.#retireAtMs = Math.min(this.#retireAtMs, clock.monotonic() + Math.random() * limits.rotationDrainMs);
  }

  /** Ends everything now: GOAWAY with the failure's code, every stream reset. */
  end(failure: Failure): void {
    if (this.#over) return;
    const { socket, clock } = this.#options;
    if (failure.code === "DRAINING" && this.#streams === 0) return sayFarewell(this.#session, socket, clock);
    this.#over = true;
    this.#failure ??= failure;
    cutOff(this.#session, socket, failure, clock);
  }

  /** Looks at everything that has a deadline. */
  tick(): void {
    const { clock } = this.#options;
    if (this.#over) return;
    const { due } = this.#life;
    if (due === "end") {
      this.end(fail("IDENTITY_EXPIRED", `a certificate of the session with ${this.peer.id}`));
      return;
    }
    if (due === "drain") this.drain();
    if (this.#guard.isSuspect && !this.#askedForLife) this.#askForLife();
    const overdue = this.#guard.overdue();
    if (overdue !== undefined) this.end(overdue);
    else if (!this.#keepalive.tick()) this.end(fail("DOWNSTREAM_CLOSED", "the peer does not answer PING"));
    else if (clock.monotonic() >= this.#retireAtMs) this.drain();
  }

  #askForLife(): void {
    this.#askedForLife = true;
    if (this.#session.destroyed || this.#session.closed) return;
    this.#session.ping((error) => {
      if (error === null) this.#guard.answeredPing();
    });
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
    stream.on("error", ignore);
    // The runtime announces a stream a moment late: by then it may be reset, or the whole session given up.
    if (this.#over) return;
    mergeSmallFrames(stream);
    const head = readRequestHead(rawHeaders, this.#authorities);
    const { oversized, end } = this.#guard.head(head.bytes);
    if (end !== undefined) return this.end(end);
    if (stream.closed || stream.destroyed) return this.#spend(this.#guard.earlyReset());
    this.#streams += 1;
    stream.on("close", () => {
      this.#streams -= 1;
      if (!stream.headersSent && !this.#over) this.#spend(this.#guard.earlyReset());
    });
    stream.on("trailers", closeForProtocol);
    const { shortage } = processMemoryCap;
    if (shortage !== undefined) {
      refuseStream(stream, shortage);
      this.#options.onRefused(this, shortage);
      return;
    }
    const authority = oversized ? fail("REQUEST_TOO_LARGE", `${head.bytes} bytes of headers`) : head.authority;
    const crowded = isFailure(authority) ? undefined : this.#admit(stream);
    if (crowded !== undefined) {
      refuseStream(stream, crowded);
      this.#options.onRefused(this, crowded);
      return;
    }
    if (!isFailure(authority)) {
      this.#options.onRequest(new AcceptedRequest(this, stream, headers, authority));
      return;
    }
    refuseStream(stream, authority);
    this.#options.onRefused(this, authority);
    this.#spend(this.#guard.badRequest());
  }

  /** Counts a stream against what all peers and this one may hold, until it closes. */
  #admit(stream: ServerHttp2Stream): Failure | undefined {
    const { shares, share, limits } = this.#options;
    const refused = stalledTunnels.shed(limits) ?? shares.stream(share);
    if (refused === undefined) stream.once("close", () => shares.streamEnded(share));
    return refused;
  }

  #spend(failure: Failure | undefined): void {
    if (failure !== undefined) this.end(failure);
  }
}

/** RFC 9113 section 8.5: after the answer a tunnel carries DATA only. */
function closeForProtocol(this: ServerHttp2Stream): void {
  resetStream(this, RESET_PROTOCOL_ERROR);
}

function ignore(): void {}
