// Machine. The port of the authority: TLS 1.3 with a client certificate if the caller has one, HTTP/2 with every limit set. A
// certificate is verified by our own rules once the handshake is over; one that fails proves nothing, and does not keep its holder
// from proving itself in another way, for that is what an expired one has to do.
import { performServerHandshake } from "node:http2";
import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { IdentitySource } from "@culvert/shared/identity/source.ts";
import { TlsContexts } from "@culvert/shared/identity/tls.ts";
import { peerOfSocket } from "@culvert/shared/identity/verify.ts";
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

/** A port of the authority that is bound; its streams are calls. */
export type Listener = SessionListener<Session>;

/** Listens. Fails as `bind` does. */
export async function listen(options: ListenerOptions): Promise<Listener | Failure> {
  const { host, port, identity, limits, clock, onCall, onRefused } = options;
  const contexts = new TlsContexts(identity);
  const holders = new Holders(limits);
  const listener: Listener = new SessionListener({
    host,
    port,
    identity,
    // Whoever has no certificate may come too; whether one counts is decided after the handshake, by `peerOfSocket`.
    tls: () => ({ ...contexts.serverOptions(), rejectUnauthorized: false }),
    maxSessions: limits.maxSessions,
    limits: limits.session,
    clock,
    accept: (socket, remote, own) => {
      if (socket.isSessionReused()) return fail("PEER_TLS_FAILURE", "the TLS session is a resumed one");
      if (socket.alpnProtocol !== "h2") return fail("PEER_TLS_FAILURE", "the caller did not agree on ALPN h2");
      const hasOne = socket.getPeerX509Certificate() !== undefined;
      const certificate = hasOne ? peerOfSocket(socket, own, clock, "client") : undefined;
      const isStranger = certificate === undefined || isFailure(certificate);
      const holder = isStranger ? addressKey(socket.remoteAddress ?? "") : certificate.id;
      const refused = holders.admit(holder, isStranger);
      if (refused !== undefined) return refused;
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
          listener.ended(ended);
          holders.release(holder, isStranger);
          if (failure !== undefined && failure.code !== "DOWNSTREAM_CLOSED" && failure.code !== "DRAINING") {
            onRefused(remote, failure);
          }
        },
      });
    },
    whyFailed: ({ message }) => fail("PEER_TLS_FAILURE", message),
    onRefused,
  });
  return (await listener.listen()) ?? listener;
}

/** Who holds how many sessions: an identity, or an address without one. */
class Holders {
  readonly #limits: AuthorityLimits;
  readonly #held = new Tally<string>();
  /** Sessions of those who have no identity. */
  #strangers = 0;

  constructor(limits: AuthorityLimits) {
    this.#limits = limits;
  }

  admit(holder: string, isStranger: boolean): Failure | undefined {
    const { maxStrangers, maxSessionsPerCaller } = this.#limits;
    if (isStranger && this.#strangers >= maxStrangers) {
      return fail("TOO_MANY_CONNECTIONS", `${maxStrangers} sessions of callers without an identity`);
    }
    if (this.#held.of(holder) >= maxSessionsPerCaller) {
      return fail("TOO_MANY_CONNECTIONS", `${maxSessionsPerCaller} sessions of ${holder}`);
    }
    this.#held.add(holder);
    if (isStranger) this.#strangers += 1;
    return undefined;
  }

  release(holder: string, isStranger: boolean): void {
    this.#held.remove(holder);
    if (isStranger) this.#strangers -= 1;
  }
}
