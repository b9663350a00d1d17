// Machine. The port of the authority: TLS 1.3 with a client certificate if the caller has one, HTTP/2 with every limit set. A
// certificate is verified by our own rules once the handshake is over; one that fails proves nothing, and does not keep its holder
// from proving itself in another way, for that is what an expired one has to do.
import { performServerHandshake } from "node:http2";
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { createServer } from "node:tls";
import type { TLSSocket, TlsOptions } from "node:tls";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { Identity, IdentitySource } from "@culvert/shared/identity/source.ts";
import { TlsContexts } from "@culvert/shared/identity/tls.ts";
import { peerOfSocket } from "@culvert/shared/identity/verify.ts";
import type { VerifiedPeer } from "@culvert/shared/identity/verify.ts";
import { bind } from "@culvert/shared/net/bind.ts";
import type { BoundAddress } from "@culvert/shared/net/bind.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import { Handshakes } from "@culvert/shared/tunnel/handshakes.ts";
import { serverSessionOptions } from "@culvert/shared/tunnel/session-options.ts";
import type { Caller } from "../proof/proof.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import { Tally } from "../tally.ts";
import { addressKey } from "./caller-rates.ts";
import { Session } from "./session.ts";

/** How often sessions are looked at; the finest deadline is five seconds. */
const TICK_MS = 1_000;

export interface ListenerOptions {
  /** An IP address; the empty string is all of them, IPv6 and IPv4. */
  readonly host: string;
  readonly port: number;
  readonly identity: IdentitySource;
  readonly limits: AuthorityLimits;
  readonly clock: Clock;
  /** Answers a call in its own time. Must not throw. */
  readonly onCall: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, caller: Caller) => void;
  /** A connection, a session or a call was refused, or a session was ended by us. */
  readonly onRefused: (remote: string, failure: Failure) => void;
}

/** A port of the authority that is bound. */
export interface Listener {
  readonly address: BoundAddress;
  readonly sessions: number;
  readonly calls: number;
  /** Sends GOAWAY on every session; open calls go on. */
  drain(): void;
  /** Closes the port, and drains what has come since. */
  stopAccepting(): void;
  /** Settles once the port is closed and the last session has ended. */
  idle(): Promise<void>;
  /** Ends everything at once; settles when the port is free. */
  close(): Promise<void>;
}

/** Listens. Fails as `bind` does. */
export function listen(options: ListenerOptions): Promise<Listener | Failure> {
  return new TlsListener(options).listen();
}

class TlsListener implements Listener {
  address: BoundAddress;
  readonly #options: ListenerOptions;
  readonly #contexts: TlsContexts;
  readonly #server: ReturnType<typeof createServer>;
  readonly #sessions = new Set<Session>();
  /** Sessions by who holds them: an identity, or an address. */
  readonly #held = new Tally<string>();
  /** Sessions of those who have no identity. */
  #strangers = 0;
  readonly #handshakes: Handshakes;
  readonly #stopWatching: () => void;
  readonly #idle = Promise.withResolvers<void>();
  #tick: Timer | undefined;
  #isClosing = false;

  constructor(options: ListenerOptions) {
    const { identity, limits } = options;
    this.#options = options;
    this.address = { host: options.host, port: options.port };
    this.#handshakes = new Handshakes(limits.session);
    this.#contexts = new TlsContexts(identity);
    this.#server = createServer({
      ...this.#tlsOptions(),
      handshakeTimeout: limits.session.handshakeTimeoutMs,
      noDelay: true,
    });
    this.#server.maxConnections = limits.maxSessions + limits.session.maxHandshakes;
    this.#server.on("connection", (socket: Socket) => this.#handshakes.begin(socket));
    this.#server.on("secureConnection", (socket: TLSSocket) => this.#onSecure(socket));
    this.#server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
      this.#refuse(socket, fail("PEER_TLS_FAILURE", error.message));
    });
    this.#server.on("drop", (data?: { remoteAddress?: string; remotePort?: number }) => {
      const remote = formatHostPort(data?.remoteAddress ?? "", data?.remotePort ?? 0);
      options.onRefused(remote, fail("TOO_MANY_CONNECTIONS", `${this.#sessions.size} sessions`));
    });
    this.#server.on("close", () => this.#idle.resolve());
    this.#stopWatching = identity.onChange((next) => this.#onIdentity(next));
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  get calls(): number {
    let calls = 0;
    for (const session of this.#sessions) calls += session.calls;
    return calls;
  }

  async listen(): Promise<Listener | Failure> {
    const { host, port, clock, onRefused } = this.#options;
    const address = await bind(this.#server, host, port, (failure) => onRefused("", failure));
    if (isFailure(address)) {
      this.#stopWatching();
      return address;
    }
    this.address = address;
    this.#tick = clock.every(TICK_MS, () => {
      for (const session of this.#sessions) session.tick();
    });
    return this;
  }

  drain(): void {
    for (const session of this.#sessions) session.drain();
  }

  stopAccepting(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.#server.close();
    this.#handshakes.close();
    this.drain();
  }

  idle(): Promise<void> {
    return this.#idle.promise;
  }

  async close(): Promise<void> {
    this.stopAccepting();
    this.#stopWatching();
    this.#tick?.cancel();
    for (const session of this.#sessions) session.end(fail("DRAINING", "the listener is closed"));
    await this.idle();
  }

  /** Whoever has no certificate may come too; whether one counts is decided after the handshake, by `peerOfSocket`. */
  #tlsOptions(): TlsOptions {
    return { ...this.#contexts.serverOptions(), rejectUnauthorized: false };
  }

  #onSecure(socket: TLSSocket): void {
    const { identity, limits, clock, onCall, onRefused } = this.#options;
    const remote = this.#handshakes.succeeded(socket);
    const own = identity.get();
    const certificate = this.#certificateOf(socket, own);
    const isStranger = certificate === undefined || isFailure(certificate);
    const holder = isStranger ? addressKey(socket.remoteAddress ?? "") : certificate.id;
    const refused = this.#admit(socket, holder, isStranger);
    if (refused !== undefined) return this.#refuse(socket, refused);
    this.#held.add(holder);
    if (isStranger) this.#strangers += 1;
    const session = new Session({
      session: performServerHandshake(socket, serverSessionOptions(limits.session)),
      socket,
      remote,
      certificate,
      identity: own,
      limits,
      clock,
      onCall,
      onRefused: (failure) => onRefused(remote, failure),
      onEnd: (ended, failure) => {
        this.#sessions.delete(ended);
        if (isStranger) this.#strangers -= 1;
        this.#held.remove(holder);
        if (failure !== undefined && failure.code !== "DOWNSTREAM_CLOSED" && failure.code !== "DRAINING") {
          onRefused(remote, failure);
        }
      },
    });
    this.#sessions.add(session);
  }

  #certificateOf(socket: TLSSocket, own: Identity): VerifiedPeer | Failure | undefined {
    if (socket.getPeerX509Certificate() === undefined) return undefined;
    return peerOfSocket(socket, own, this.#options.clock, "client");
  }

  #admit(socket: TLSSocket, holder: string, isStranger: boolean): Failure | undefined {
    const { maxSessions, maxStrangers, maxSessionsPerCaller } = this.#options.limits;
    if (this.#isClosing) return fail("DRAINING", "the listener drains");
    if (socket.isSessionReused()) return fail("PEER_TLS_FAILURE", "the TLS session is a resumed one");
    if (socket.alpnProtocol !== "h2") return fail("PEER_TLS_FAILURE", "the caller did not agree on ALPN h2");
    if (this.#sessions.size >= maxSessions) return fail("TOO_MANY_CONNECTIONS", `${maxSessions} sessions`);
    if (isStranger && this.#strangers >= maxStrangers) {
      return fail("TOO_MANY_CONNECTIONS", `${maxStrangers} sessions of callers without an identity`);
    }
    if (this.#held.of(holder) < maxSessionsPerCaller) return undefined;
    return fail("TOO_MANY_CONNECTIONS", `${maxSessionsPerCaller} sessions of ${holder}`);
  }

  #refuse(socket: TLSSocket, failure: Failure): void {
    this.#options.onRefused(this.#handshakes.refuse(socket), failure);
  }

  /** New handshakes get the new certificate; sessions go on, but for those of who is no longer trusted. */
  #onIdentity(identity: Identity): void {
    this.#server.setSecureContext(this.#tlsOptions());
    for (const session of this.#sessions) session.identityChanged(identity);
  }
}
