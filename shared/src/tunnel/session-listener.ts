// Machine. A port of HTTP/2 over TLS 1.3, whatever is served there: handshakes that are bounded, sessions and their ticks, certificates
// that are replaced, and the end.
import type { Socket } from "node:net";
import { createServer } from "node:tls";
import type { TLSSocket, TlsOptions } from "node:tls";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Identity, IdentitySource } from "../identity/source.ts";
import { bind } from "../net/bind.ts";
import type { BoundAddress } from "../net/bind.ts";
import type { Clock, Timer } from "../net/clock.ts";
import { formatHostPort } from "../net/ip.ts";
import { Handshakes } from "./handshakes.ts";
import type { TunnelLimits } from "./limits.ts";

/** How often sessions are looked at; the finest deadline is five seconds. */
const TICK_MS = 1_000;

/** A session as its port sees it. */
export interface ListenedSession {
  /** Streams open now. */
  readonly streams: number;
  drain(): void;
  end(failure: Failure): void;
  tick(): void;
  /** Our own identity, or whom we trust, has changed. */
  identityChanged(identity: Identity): void;
}

export interface SessionListenerOptions<S extends ListenedSession> {
  /** An IP address; the empty string is all of them, IPv6 and IPv4. */
  readonly host: string;
  readonly port: number;
  readonly identity: IdentitySource;
  /** TLS with the identity of now. */
  readonly tls: () => TlsOptions;
  readonly maxSessions: number;
  readonly limits: Pick<TunnelLimits, "handshakeTimeoutMs" | "maxHandshakes" | "maxHandshakesPerAddress">;
  readonly clock: Clock;
  /** A handshake is over: its session, which says `ended` when it is over, or why there is none. `remote` is `ip:port`. */
  readonly accept: (socket: TLSSocket, remote: string, own: Identity) => S | Failure;
  /** Why a handshake has failed. */
  readonly whyFailed: (error: Error, socket: TLSSocket) => Failure;
  /** A connection has not become a session. `remote` is `ip:port`, empty when there is not even a connection. */
  readonly onRefused: (remote: string, failure: Failure) => void;
}

/** See the head of the file. */
export class SessionListener<S extends ListenedSession> {
  readonly #sessions = new Set<S>();
  #address: BoundAddress;
  readonly #options: SessionListenerOptions<S>;
  readonly #server: ReturnType<typeof createServer>;
  readonly #handshakes: Handshakes;
  readonly #stopWatching: () => void;
  readonly #idle = Promise.withResolvers<void>();
  #tick: Timer | undefined;
  #isClosing = false;

  constructor(options: SessionListenerOptions<S>) {
    const { host, port, identity, tls, maxSessions, limits, onRefused } = options;
    this.#options = options;
    this.#address = { host, port };
    this.#handshakes = new Handshakes(limits);
    this.#server = createServer({ ...tls(), handshakeTimeout: limits.handshakeTimeoutMs, noDelay: true });
    this.#server.maxConnections = maxSessions + limits.maxHandshakes;
    this.#server.on("connection", (socket: Socket) => this.#handshakes.begin(socket));
    this.#server.on("secureConnection", (socket: TLSSocket) => this.#onSecure(socket));
    this.#server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
      this.#refuse(socket, options.whyFailed(error, socket));
    });
    this.#server.on("drop", (data?: { remoteAddress?: string; remotePort?: number }) => {
      const remote = formatHostPort(data?.remoteAddress ?? "", data?.remotePort ?? 0);
      onRefused(remote, fail("TOO_MANY_CONNECTIONS", `${this.#sessions.size} sessions`));
    });
    this.#server.on("close", () => this.#idle.resolve());
    this.#stopWatching = identity.onChange((next) => this.#onIdentity(next));
  }

  /** Where it is bound, once it is. */
  get address(): BoundAddress {
    return this.#address;
  }

  /** Sessions open now. */
  get sessions(): number {
    return this.#sessions.size;
  }

  /** Streams open now, of all sessions. */
  get streams(): number {
    let streams = 0;
    for (const session of this.#sessions) streams += session.streams;
    return streams;
  }

  /** Listens; why not, if it can't: as `bind` fails. */
  async listen(): Promise<Failure | undefined> {
    const { host, port, onRefused } = this.#options;
    const address = await bind(this.#server, host, port, (failure) => onRefused("", failure));
    if (isFailure(address)) {
      this.#stopWatching();
      return address;
    }
    this.#address = address;
    return undefined;
  }

  /** Sends GOAWAY on every session; open streams go on. Sessions are still taken: callers come for what was in flight. */
  drain(): void {
    for (const session of this.#sessions) session.drain();
  }

  /** Closes the port, and drains what has come since. */
  stopAccepting(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#server.close();
    this.#handshakes.close();
    this.drain();
  }

  /** Settles once the port is closed and the last connection has ended. */
  idle(): Promise<void> {
    return this.#idle.promise;
  }

  /** Frees the port and ends everything at once; settles as `idle` does. */
  close(): Promise<void> {
    this.stopAccepting();
    this.#stopWatching();
    for (const session of this.#sessions) session.end(fail("DRAINING", "the listener is closed"));
    return this.idle();
  }

  /** A session is over. */
  ended(session: S): void {
    this.#sessions.delete(session);
    if (this.#sessions.size > 0) return;
    this.#tick?.cancel();
    this.#tick = undefined;
  }

  #onSecure(socket: TLSSocket): void {
    const { identity, maxSessions, clock, accept } = this.#options;
    const remote = this.#handshakes.succeeded(socket);
    if (this.#isClosing) return this.#refuse(socket, fail("DRAINING", "the listener drains"));
    if (this.#sessions.size >= maxSessions) {
      return this.#refuse(socket, fail("TOO_MANY_CONNECTIONS", `${maxSessions} sessions`));
    }
    const session = accept(socket, remote, identity.get());
    if (isFailure(session)) return this.#refuse(socket, session);
    this.#sessions.add(session);
    this.#tick ??= clock.every(TICK_MS, () => {
      for (const each of this.#sessions) each.tick();
    });
    return undefined;
  }

  #refuse(socket: TLSSocket, failure: Failure): void {
    this.#options.onRefused(this.#handshakes.refuse(socket), failure);
  }

  #onIdentity(identity: Identity): void {
    this.#server.setSecureContext(this.#options.tls());
    for (const session of this.#sessions) session.identityChanged(identity);
  }
}
