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
import { SessionGuard } from "@culvert/shared/tunnel/guard.ts";
import { Keepalive } from "@culvert/shared/tunnel/keepalive.ts";
import { resetStream } from "@culvert/shared/tunnel/reset-stream.ts";
import { cutOff, sayFarewell } from "@culvert/shared/tunnel/session-end.ts";
import type { Caller } from "../proof/proof.ts";
import type { AuthorityLimits } from "../authority-limits.ts";

/** What a field line weighs beside its octets (RFC 9113 section 6.5.2). */
const FIELD_OVERHEAD = 32;

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
export class Session {
  readonly #options: SessionOptions;
  readonly #session: ServerHttp2Session;
  readonly #guard: SessionGuard;
  readonly #keepalive: Keepalive;
  readonly #streams = new Set<ServerHttp2Stream>();
  #certificate: VerifiedPeer | Failure | undefined;
  #trusted: Identity;
  #failure: Failure | undefined;
  #over = false;
  #askedForLife = false;
  #idleSinceMs: number;

  constructor(options: SessionOptions) {
    const { session, socket, limits, clock } = options;
    this.#options = options;
    this.#session = session;
    this.#certificate = options.certificate;
    this.#trusted = options.identity;
    this.#idleSinceMs = clock.monotonic();
    this.#guard = new SessionGuard(limits.session, clock);
    this.#keepalive = new Keepalive(session, limits.session, clock);
    session.on("error", (error: NodeJS.ErrnoException) => {
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
    session.setLocalWindowSize(limits.session.connectionWindow);
    processMemory.handshakeEnded();
  }

  /** Calls open now. */
  get calls(): number {
    return this.#streams.size;
  }

  /** No more calls: GOAWAY; those that are open go on, and the last one takes the session with it. */
  drain(): void {
    this.#session.close();
  }

  /** Whom we trust has changed: a certificate that no longer counts takes its session with it, at once. */
  identityChanged(identity: Identity): void {
    const { socket, clock } = this.#options;
    if (this.#over || sameTrust(this.#trusted, identity)) return;
    this.#trusted = identity;
    if (this.#certificate === undefined || isFailure(this.#certificate)) return;
    this.#certificate = peerOfSocket(socket, identity, clock, "client");
    if (isFailure(this.#certificate)) this.end(this.#certificate);
  }

  /** Ends everything now: GOAWAY with the failure's code, every call reset. */
  end(failure: Failure): void {
    if (this.#over) return;
    const { socket, clock } = this.#options;
    if (failure.code === "DRAINING" && this.#streams.size === 0) return sayFarewell(this.#session, socket, clock);
    this.#over = true;
    this.#failure ??= failure;
    cutOff(this.#session, socket, failure, clock);
  }

  /** Looks at everything that has a deadline. */
  tick(): void {
    const { clock, limits } = this.#options;
    if (this.#over) return;
    if (this.#certificate !== undefined && !isFailure(this.#certificate) && clock.now() >= this.#certificate.notAfter) {
      return this.end(fail("IDENTITY_EXPIRED", `the certificate of ${this.#certificate.id}`));
    }
    if (this.#guard.isSuspect && !this.#askedForLife) this.#askForLife();
    const overdue = this.#guard.overdue();
    if (overdue !== undefined) this.end(overdue);
    else if (!this.#keepalive.tick()) this.end(fail("DOWNSTREAM_CLOSED", "the caller does not answer PING"));
    else if (this.#streams.size === 0 && clock.monotonic() - this.#idleSinceMs >= limits.idleSessionMs) {
      this.end(fail("DRAINING", "the session is idle"));
    }
  }

  /** A session that is opened ahead answers a PING, which a caller that sends half a frame cannot. */
  #askForLife(): void {
    this.#askedForLife = true;
    if (this.#session.destroyed || this.#session.closed) return;
    this.#session.ping((error) => {
      if (error === null) this.#guard.answeredPing();
    });
  }

  #onStream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
    const { remote, clock, onCall, onRefused } = this.#options;
    stream.on("error", ignore);
    if (this.#over) return;
    const { oversized, end } = this.#guard.head(weightOf(rawHeaders));
    if (end !== undefined) return this.end(end);
    if (stream.closed || stream.destroyed) return this.#spend(this.#guard.earlyReset());
    this.#streams.add(stream);
    stream.on("close", () => {
      this.#streams.delete(stream);
      // What a call was made of is garbage now, more than a tunnel leaves.
      processMemory.connectionEnded();
      this.#idleSinceMs = clock.monotonic();
      if (!stream.headersSent && !this.#over) this.#spend(this.#guard.earlyReset());
    });
    const refused = oversized ? fail("REQUEST_TOO_LARGE", "the head of a call") : processMemoryCap.shortage;
    if (refused !== undefined) {
      onRefused(refused);
      resetStream(stream, refused.traits.resetCode);
      if (oversized) this.#spend(this.#guard.badRequest());
      return;
    }
    const { authorization } = headers;
    onCall(stream, headers, { remote, authorization, certificate: this.#certificate });
  }

  #spend(failure: Failure | undefined): void {
    if (failure !== undefined) this.end(failure);
  }
}

function weightOf(rawHeaders: readonly string[]): number {
  let bytes = (rawHeaders.length / 2) * FIELD_OVERHEAD;
  for (const text of rawHeaders) bytes += text.length;
  return bytes;
}

function ignore(): void {}
