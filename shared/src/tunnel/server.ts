// Machine. The accepting end of tunnels: mutual TLS 1.3, HTTP/2 with every limit set, CONNECT and nothing else. A peer is
// verified on the certificate of its own handshake, once per session, before a session exists that could carry a stream.
import { performServerHandshake } from "node:http2";
import type { TLSSocket } from "node:tls";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { IdentitySource } from "../identity/source.ts";
import { keyGroupOf } from "../identity/key-group.ts";
import { TlsContexts } from "../identity/tls.ts";
import type { Compliance } from "../identity/tls.ts";
import { peerOfSocket } from "../identity/verify.ts";
import type { BoundAddress } from "../net/bind.ts";
import type { Clock } from "../net/clock.ts";
import { endpoint } from "../net/endpoint.ts";
import type { TunnelLimits } from "./limits.ts";
import type { TunnelRequest } from "./request.ts";
import { PeerShares } from "./peer-shares.ts";
import { ServerSession } from "./server-session.ts";
import { SessionListener } from "./session-listener.ts";
import { serverSessionOptions } from "./session-options.ts";
import { acceptFailure, certificateFailure } from "./tls-failure.ts";

export type { TunnelRequest } from "./request.ts";

/** What the operator may want to know. */
export interface TunnelEvent {
  readonly kind: "session-opened" | "session-refused" | "session-ended" | "request-refused";
  /** `ip:port` of the peer. */
  readonly remote: string;
  /** SPIFFE ID of the peer, empty before it is verified. */
  readonly peer: string;
  /** Of a session that was opened: the group by which its keys were agreed, if the runtime tells. */
  readonly keyGroup?: string | undefined;
  readonly failure: Failure | undefined;
}

export interface TunnelServerOptions {
  /** An IP address; the empty string is all of them, IPv6 and IPv4. */
  readonly host: string;
  readonly port: number;
  readonly identity: IdentitySource;
  readonly compliance?: Compliance | undefined;
  readonly limits: TunnelLimits;
  readonly clock: Clock;
  /** Takes over a request and answers it in its own time. Must not throw. */
  readonly onRequest: (request: TunnelRequest) => void;
  readonly onEvent: (event: TunnelEvent) => void;
}

/** A tunnel listener that has bound its port. */
export interface TunnelServer {
  readonly address: BoundAddress;
  readonly sessions: number;
  readonly streams: number;
  /** Sends GOAWAY on every session; open streams go on. Sessions are still taken: callers come for what was in flight. */
  drain(): void;
  /** Closes the port, and drains what has come since. */
  stopAccepting(): void;
  /** Frees the port, and ends everything at once. */
  close(): void;
}

/** Listens. Fails as `bind` does. */
export async function listenTunnels(options: TunnelServerOptions): Promise<TunnelServer | Failure> {
  const { host, port, identity, compliance, limits, clock, onRequest, onEvent } = options;
  const contexts = new TlsContexts(identity, compliance);
  const shares = new PeerShares(limits);
  const listener: SessionListener<ServerSession> = new SessionListener({
    host,
    port,
    identity,
    tls: () => contexts.serverOptions(),
    maxSessions: limits.maxSessions,
    limits,
    clock,
    accept: (socket, remote, own) => {
      if (clock.now() >= own.svid.notAfter) return fail("IDENTITY_EXPIRED", "our own certificate");
      const peer = peerOfSocket(socket, own, clock, "client");
      if (isFailure(peer)) return peer;
      const share = shares.session(peer.id);
      if (isFailure(share)) return share;
      const keyGroup = keyGroupOf(socket);
      onEvent({ kind: "session-opened", remote, peer: peer.id, keyGroup, failure: undefined });
      return new ServerSession({
        session: performServerHandshake(socket, serverSessionOptions(limits)),
        socket,
        peer,
        keyGroup,
        identity: own,
        source: endpoint(socket.remoteAddress, socket.remotePort),
        local: endpoint(socket.localAddress, socket.localPort),
        limits,
        clock,
        shares,
        share,
        onRequest,
        onRefused: (failure) => onEvent({ kind: "request-refused", remote, peer: peer.id, failure }),
        onEnd: (ended, failure) => {
          shares.sessionEnded(peer.id, share);
          listener.ended(ended);
          onEvent({ kind: "session-ended", remote, peer: peer.id, failure });
        },
      });
    },
    whyFailed: handshakeFailure,
    onRefused: (remote, failure) => onEvent({ kind: "session-refused", remote, peer: "", failure }),
  });
  return (await listener.listen()) ?? listener;
}

/** What OpenSSL says of the certificate, if that was the reason; the error itself often only says that it hung up. */
function handshakeFailure(error: Error, socket: TLSSocket): Failure {
  const verdict = socket.authorizationError as Error | string | null | undefined;
  if (verdict === undefined || verdict === null) return acceptFailure(error);
  return certificateFailure(verdict instanceof Error ? verdict.message : verdict);
}
