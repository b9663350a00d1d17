// Machine. The port of the authority: TLS 1.3 with a client certificate if the caller has one, HTTP/2 with every limit set. A
// certificate is verified by our own rules once the handshake is over; one that fails proves nothing, and does not keep its holder
// from proving itself in another way, for that is what an expired one has to do.
import { performServerHandshake } from "node:http2";
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import type { TLSSocket } from "node:tls";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { Identity, IdentitySource } from "@culvert/shared/identity/source.ts";
import { TlsContexts } from "@culvert/shared/identity/tls.ts";
import { peerOfSocket } from "@culvert/shared/identity/verify.ts";
import type { VerifiedPeer } from "@culvert/shared/identity/verify.ts";
import type { BoundAddress } from "@culvert/shared/net/bind.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { SessionListener } from "@culvert/shared/tunnel/session-listener.ts";
import { serverSessionOptions } from "@culvert/shared/tunnel/session-options.ts";
import type { Caller } from "../proof/proof.ts";
import type { AuthorityLimits } from "../authority-limits.ts";
import { Tally } from "../tally.ts";
import { addressKey } from "./caller-rates.ts";
import { Session } from "./session.ts";

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
export async function listen(options: ListenerOptions): Promise<Listener | Failure> {
  const port = new AuthorityPort(options);
  return (await port.listener.listen()) ?? port;
}

class AuthorityPort implements Listener {
  readonly listener: SessionListener<Session>;
  readonly #options: ListenerOptions;
  /** Sessions by who holds them: an identity, or an address. */
  readonly #held = new Tally<string>();
  /** Sessions of those who have no identity. */
  #strangers = 0;

  constructor(options: ListenerOptions) {
    const { host, port, identity, limits, clock, onRefused } = options;
    const contexts = new TlsContexts(identity);
    this.#options = options;
    this.listener = new SessionListener({
      host,
      port,
      identity,
      // Whoever has no certificate may come too; whether one counts is decided after the handshake, by `peerOfSocket`.
      tls: () => ({ ...contexts.serverOptions(), rejectUnauthorized: false }),
      maxSessions: limits.maxSessions,
      limits: limits.session,
      clock,
      accept: (socket, remote, own) => this.#accept(socket, remote, own),
      whyFailed: ({ message }) => fail("PEER_TLS_FAILURE", message),
      onRefused,
    });
  }

  get address(): BoundAddress {
    return this.listener.address;
  }

  get sessions(): number {
    return this.listener.sessions.size;
  }

  get calls(): number {
    return this.listener.streams;
  }

  drain(): void {
    this.listener.drain();
  }

  stopAccepting(): void {
    this.listener.stopAccepting();
  }

  idle(): Promise<void> {
    return this.listener.idle();
  }

  close(): Promise<void> {
    this.listener.close();
    return this.idle();
  }

  #accept(socket: TLSSocket, remote: string, own: Identity): Session | Failure {
    const { limits, clock, onCall, onRefused } = this.#options;
    const certificate = this.#certificateOf(socket, own);
    const isStranger = certificate === undefined || isFailure(certificate);
    const holder = isStranger ? addressKey(socket.remoteAddress ?? "") : certificate.id;
    const refused = this.#admit(socket, holder, isStranger);
    if (refused !== undefined) return refused;
    this.#held.add(holder);
    if (isStranger) this.#strangers += 1;
    return new Session({
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
        this.listener.ended(ended);
        if (isStranger) this.#strangers -= 1;
        this.#held.remove(holder);
        if (failure !== undefined && failure.code !== "DOWNSTREAM_CLOSED" && failure.code !== "DRAINING") {
          onRefused(remote, failure);
        }
      },
    });
  }

  #certificateOf(socket: TLSSocket, own: Identity): VerifiedPeer | Failure | undefined {
    if (socket.getPeerX509Certificate() === undefined) return undefined;
    return peerOfSocket(socket, own, this.#options.clock, "client");
  }

  #admit(socket: TLSSocket, holder: string, isStranger: boolean): Failure | undefined {
    const { maxStrangers, maxSessionsPerCaller } = this.#options.limits;
    if (socket.isSessionReused()) return fail("PEER_TLS_FAILURE", "the TLS session is a resumed one");
    if (socket.alpnProtocol !== "h2") return fail("PEER_TLS_FAILURE", "the caller did not agree on ALPN h2");
    if (isStranger && this.#strangers >= maxStrangers) {
      return fail("TOO_MANY_CONNECTIONS", `${maxStrangers} sessions of callers without an identity`);
    }
    if (this.#held.of(holder) < maxSessionsPerCaller) return undefined;
    return fail("TOO_MANY_CONNECTIONS", `${maxSessionsPerCaller} sessions of ${holder}`);
  }
}
