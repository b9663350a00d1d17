// Machine. What every accepted session of HTTP/2 over TLS has, whatever its streams are for: a guard, PINGs, a count of its streams, and
// one end.
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { processMemory } from "../net/memory.ts";
import { SessionGuard } from "./guard.ts";
import { Keepalive } from "./keepalive.ts";
import type { TunnelLimits } from "./limits.ts";
import { cutOff, sayFarewell } from "./session-end.ts";

export interface GuardedSessionOptions {
  readonly session: ServerHttp2Session;
  readonly socket: TLSSocket;
  readonly limits: TunnelLimits;
  readonly clock: Clock;
  /** Told of each stream, as long as the session goes on; asks `admit` before anything else. */
  readonly onStream: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, rawHeaders: readonly string[]) => void;
  /** Called once; `undefined` when the peer went away in order. */
  readonly onEnd: (failure: Failure | undefined) => void;
}

/** See the head of the file. Its owner calls `tick` about once a second. */
export class GuardedSession {
  readonly #options: GuardedSessionOptions;
  readonly #guard: SessionGuard;
  readonly #keepalive: Keepalive;
  #streams = 0;
  #failure: Failure | undefined;
  #over = false;
  #askedForLife = false;

  constructor(options: GuardedSessionOptions) {
    const { session, socket, limits, clock } = options;
    this.#options = options;
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
      options.onEnd(this.#failure);
    });
    session.on("localSettings", () => this.#guard.settingsAcknowledged());
    session.on("stream", (stream, headers, _flags, rawHeaders) => {
      stream.on("error", ignore);
      // The runtime announces a stream a moment late: by then it may be reset, or the whole session given up.
      if (!this.#over) options.onStream(stream, headers, rawHeaders);
    });
    session.setLocalWindowSize(limits.connectionWindow);
    processMemory.handshakeEnded();
  }

  /** It has ended, or we have ended it. */
  get over(): boolean {
    return this.#over;
  }

  /** Streams open now. */
  get streams(): number {
    return this.#streams;
  }

  /** A stream has come with a head of so many bytes; it counts until it closes. `gone`: there is nothing left to be done with it. */
  admit(stream: ServerHttp2Stream, headBytes: number): "fits" | "oversized" | "gone" {
    const { oversized, end } = this.#guard.head(headBytes);
    if (end !== undefined || stream.closed || stream.destroyed) {
      this.#spend(end ?? this.#guard.earlyReset());
      return "gone";
    }
    this.#streams += 1;
    stream.on("close", () => {
      this.#streams -= 1;
      if (!stream.headersSent && !this.#over) this.#spend(this.#guard.earlyReset());
    });
    return oversized ? "oversized" : "fits";
  }

  /** The peer has sent a request that breaks the rules. */
  misbehaved(): void {
    this.#spend(this.#guard.badRequest());
  }

  /** No more streams: GOAWAY; those that are open go on, and the last one takes the session with it. */
  drain(): void {
    this.#options.session.close();
  }

  /** Ends everything now: GOAWAY with the failure's code, every stream reset. */
  end(failure: Failure): void {
    if (this.#over) return;
    const { session, socket, clock } = this.#options;
    if (failure.code === "DRAINING" && this.#streams === 0) return sayFarewell(session, socket, clock);
    this.#over = true;
    this.#failure ??= failure;
    cutOff(session, socket, failure, clock);
  }

  /** Looks at everything that has a deadline. `false` when the session is over. */
  tick(): boolean {
    if (this.#over) return false;
    if (this.#guard.isSuspect && !this.#askedForLife) this.#askForLife();
    const overdue = this.#guard.overdue();
    if (overdue !== undefined) this.end(overdue);
    else if (!this.#keepalive.tick()) this.end(fail("DOWNSTREAM_CLOSED", "the peer does not answer PING"));
    return !this.#over;
  }

  /** A session that is opened ahead answers a PING, which a peer that sends half a frame cannot. */
  #askForLife(): void {
    const { session } = this.#options;
    this.#askedForLife = true;
    if (session.destroyed || session.closed) return;
    session.ping((error) => {
      if (error === null) this.#guard.answeredPing();
    });
  }

  #spend(failure: Failure | undefined): void {
    if (failure !== undefined) this.end(failure);
  }
}

function ignore(): void {}
