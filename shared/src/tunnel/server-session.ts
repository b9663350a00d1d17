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
import { processMemoryCap } from "../net/memory-cap.ts";
import { GuardedSession } from "./guarded-session.ts";
import type { TunnelLimits } from "./limits.ts";
import { AcceptedRequest, AuthorityCache, readRequestHead, refuseStream } from "./request.ts";
import type { TunnelRequest } from "./request.ts";
import type { PeerShare, PeerShares } from "./peer-shares.ts";
import { ProofLife } from "./proof-life.ts";
import type { ListenedSession } from "./session-listener.ts";
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
  readonly onRefused: (failure: Failure) => void;
  /** Called once; `undefined` when the peer went away in order. */
  readonly onEnd: (session: ServerSession, failure: Failure | undefined) => void;
}

/** See the head of the file. Its owner calls `tick` about once a second. */
export class ServerSession implements ListenedSession {
  readonly peer: VerifiedPeer;
  readonly keyGroup: string | undefined;
  readonly source: Endpoint;
  readonly local: Endpoint;
  readonly #options: ServerSessionOptions;
  readonly #session: GuardedSession;
  /** Ends with the first of both certificates. */
  readonly #life: ProofLife;
  readonly #authorities = new AuthorityCache();
  #retireAtMs = Infinity;
  /** The identity by whose bundles the peer was last verified. */
  #trusted: Identity;

  constructor(options: ServerSessionOptions) {
    const { session, socket, peer, source, local, limits, clock, identity } = options;
    this.#options = options;
    this.#trusted = identity;
    const notAfter = Math.min(peer.notAfter, identity.svid.notAfter);
    this.#life = new ProofLife(clock, notAfter, limits.expiredPeerGraceMs);
    this.peer = peer;
    this.keyGroup = options.keyGroup;
    this.source = source;
    this.local = local;
    this.#session = new GuardedSession({
      session,
      socket,
      limits,
      clock,
      onStream: (stream, headers, rawHeaders) => this.#onStream(stream, headers, rawHeaders),
      onEnd: (failure) => options.onEnd(this, failure),
    });
  }

  /** Streams open now. */
  get streams(): number {
    return this.#session.streams;
  }

  /** No more streams: GOAWAY; those that are open go on, and the last one takes the session with it. */
  drain(): void {
    this.#session.drain();
  }

  /**
   * Our own identity, or whom we trust, has changed: a peer that is no longer trusted is cut off at once; one whose session
   * stands on another certificate or bundle now is told to come back some time in `rotationDrainMs`, so that they never all
   * come back together.
   */
  identityChanged(identity: Identity): void {
    const { socket, clock, limits, identity: own } = this.#options;
    if (this.#session.over) return;
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
    this.#session.end(failure);
  }

  /** Looks at everything that has a deadline. */
  tick(): void {
    const { due } = this.#life;
    if (due === "end") return this.end(fail("IDENTITY_EXPIRED", `a certificate of the session with ${this.peer.id}`));
    const retires = due === "drain" || this.#options.clock.monotonic() >= this.#retireAtMs;
    if (this.#session.tick() && retires) this.drain();
    return undefined;
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
    mergeSmallFrames(stream);
    const head = readRequestHead(rawHeaders, this.#authorities);
    const verdict = this.#session.admit(stream, head.bytes);
    if (verdict === "gone") return;
    stream.on("trailers", closeForProtocol);
    const { shortage } = processMemoryCap;
    if (shortage !== undefined) {
      refuseStream(stream, shortage);
      this.#options.onRefused(shortage);
      return;
    }
    const authority =
      verdict === "oversized" ? fail("REQUEST_TOO_LARGE", `${head.bytes} bytes of headers`) : head.authority;
    const crowded = isFailure(authority) ? undefined : this.#admit(stream);
    if (crowded !== undefined) {
      refuseStream(stream, crowded);
      this.#options.onRefused(crowded);
      return;
    }
    if (!isFailure(authority)) {
      this.#options.onRequest(new AcceptedRequest(this, stream, headers, authority));
      return;
    }
    refuseStream(stream, authority);
    this.#options.onRefused(authority);
    this.#session.misbehaved();
  }

  /** Counts a stream against what all peers and this one may hold, until it closes. */
  #admit(stream: ServerHttp2Stream): Failure | undefined {
    const { shares, share, limits } = this.#options;
    const refused = stalledTunnels.shed(limits) ?? shares.stream(share);
    if (refused === undefined) stream.once("close", () => shares.streamEnded(share));
    return refused;
  }
}

/** RFC 9113 section 8.5: after the answer a tunnel carries DATA only. */
function closeForProtocol(this: ServerHttp2Stream): void {
  resetStream(this, RESET_PROTOCOL_ERROR);
}
