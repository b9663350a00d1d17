// Machine. One accepted session of the authority: its calls, its guard, its deadlines and its end.
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { sameTrust } from "@culvert/shared/identity/identity.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { peerOfSocket } from "@culvert/shared/identity/verify.ts";
import type { VerifiedPeer } from "@culvert/shared/identity/verify.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { processMemory } from "@culvert/shared/net/memory.ts";
import { processMemoryCap } from "@culvert/shared/net/memory-cap.ts";
import { GuardedSession } from "@culvert/shared/tunnel/guarded-session.ts";
import { headerListSize } from "@culvert/shared/tunnel/header-list.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import type { ListenedSession } from "@culvert/shared/tunnel/session-listener.ts";
import type { Caller } from "../proof/proof.ts";
import type { AuthorityLimits } from "../authority-limits.ts";

export interface SessionOptions {
  readonly session: ServerHttp2Session;
  readonly socket: TLSSocket;
  /** `ip:port` of the caller. */
  readonly remote: string;
  /** Its client certificate: verified, refused, or absent. */
  readonly certificate: VerifiedPeer | Failure | undefined;
  /** Our own identity, by whose bundles the certificate was verified. */
  readonly identity: Identity;
  readonly limits: AuthorityLimits;
  readonly clock: Clock;
  /** Answers a call in its own time. Must not throw. */
  readonly onCall: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, caller: Caller) => void;
  readonly onRefused: (failure: Failure) => void;
  /** Called once; `undefined` when the caller went away in order. */
  readonly onEnd: (session: Session, failure: Failure | undefined) => void;
}

/** See the head of the file. Its owner calls `tick` about once a second. */
export class Session implements ListenedSession {
  readonly #options: SessionOptions;
  readonly #session: GuardedSession;
  #certificate: VerifiedPeer | Failure | undefined;
  #trusted: Identity;
  #idleSinceMs: number;

  constructor(options: SessionOptions) {
    const { session, socket, limits, clock } = options;
    this.#options = options;
    this.#certificate = options.certificate;
    this.#trusted = options.identity;
    this.#idleSinceMs = clock.monotonic();
    this.#session = new GuardedSession({
      session,
      socket,
      limits: limits.session,
      clock,
      onStream: (stream, headers, rawHeaders) => this.#onStream(stream, headers, rawHeaders),
      onEnd: (failure) => options.onEnd(this, failure),
    });
  }

  /** Calls open now. */
  get streams(): number {
    return this.#session.streams;
  }

  /** No more calls: GOAWAY; those that are open go on, and the last one takes the session with it. */
  drain(): void {
    this.#session.drain();
  }

  /** Whom we trust has changed: a certificate that no longer counts takes its session with it, at once. */
  identityChanged(identity: Identity): void {
    const { socket, clock } = this.#options;
    if (this.#session.over || sameTrust(this.#trusted, identity)) return;
    this.#trusted = identity;
    if (this.#certificate === undefined || isFailure(this.#certificate)) return;
    this.#certificate = peerOfSocket(socket, identity, clock, "client");
    if (isFailure(this.#certificate)) this.end(this.#certificate);
  }

  /** Ends everything now: GOAWAY with the failure's code, every call reset. */
  end(failure: Failure): void {
    this.#session.end(failure);
  }

  /** Looks at everything that has a deadline. */
  tick(): void {
    const { clock, limits } = this.#options;
    if (this.#certificate !== undefined && !isFailure(this.#certificate) && clock.now() >= this.#certificate.notAfter) {
      return this.end(fail("IDENTITY_EXPIRED", `the certificate of ${this.#certificate.id}`));
    }
    const isIdle = this.streams === 0 && clock.monotonic() - this.#idleSinceMs >= limits.idleSessionMs;
    if (this.#session.tick() && isIdle) this.end(fail("DRAINING", "the session is idle"));
    return undefined;
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
    const { remote, clock, onCall, onRefused } = this.#options;
    const verdict = this.#session.admit(stream, headerListSize(rawHeaders));
    if (verdict === "gone") return;
    stream.on("close", () => {
      // What a call was made of is garbage now, more than a tunnel leaves.
      processMemory.connectionEnded();
      this.#idleSinceMs = clock.monotonic();
    });
    const oversized = verdict === "oversized";
    const refused = oversized ? fail("REQUEST_TOO_LARGE", "the head of a call") : processMemoryCap.shortage;
    if (refused !== undefined) {
      onRefused(refused);
      resetStream(stream, refused.traits.resetCode);
      if (oversized) this.#session.misbehaved();
      return;
    }
    const { authorization } = headers;
    onCall(stream, headers, { remote, authorization, certificate: this.#certificate });
  }
}
