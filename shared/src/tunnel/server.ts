// Machine. The accepting end of tunnels: mutual TLS 1.3, HTTP/2 with every limit set, CONNECT and nothing else. A peer is
// verified on the certificate of its own handshake, once per session, before a session exists that could carry a stream.
import { performServerHandshake } from "node:http2";
import type { Socket } from "node:net";
import { createServer } from "node:tls";
import type { TLSSocket } from "node:tls";
import { fail, isFailure } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Identity, IdentitySource } from "../identity/source.ts";
import { keyGroupOf } from "../identity/key-group.ts";
import { TlsContexts } from "../identity/tls.ts";
import type { Compliance } from "../identity/tls.ts";
import { peerOfSocket } from "../identity/verify.ts";
import { bind } from "../net/bind.ts";
import type { BoundAddress } from "../net/bind.ts";
import type { Clock, Timer } from "../net/clock.ts";
import { endpoint } from "../net/endpoint.ts";
import { formatAuthority } from "./authority.ts";
import type { TunnelLimits } from "./limits.ts";
import type { TunnelRequest } from "./request.ts";
import { Handshakes } from "./handshakes.ts";
import { PeerShares } from "./peer-shares.ts";
import { ServerSession } from "./server-session.ts";
import { serverSessionOptions } from "./session-options.ts";
import { acceptFailure, certificateFailure } from "./tls-failure.ts";

export type { TunnelRequest } from "./request.ts";

/** How often sessions are looked at; the finest deadline is five seconds. */
const TICK_MS = 1_000;

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
  /** Ends everything at once; settles when the port is free. */
  close(): Promise<void>;
}

/** Listens. Fails as `bind` does. */
export function listenTunnels(options: TunnelServerOptions): Promise<TunnelServer | Failure> {
  return new Listener(options).listen();
}

class Listener implements TunnelServer {
  address: BoundAddress;
  readonly #options: TunnelServerOptions;
  readonly #contexts: TlsContexts;
  readonly #server: ReturnType<typeof createServer>;
  readonly #sessions = new Set<ServerSession>();
  readonly #shares: PeerShares;
  readonly #handshakes: Handshakes;
  readonly #stopWatching: () => void;
  #tick: Timer | undefined;
  #isClosing = false;

  constructor(options: TunnelServerOptions) {
    const { identity, limits } = options;
    this.#options = options;
    this.address = { host: options.host, port: options.port };
    this.#shares = new PeerShares(limits);
    this.#handshakes = new Handshakes(limits);
    this.#contexts = new TlsContexts(identity, options.compliance);
    this.#server = createServer({
      ...this.#contexts.serverOptions(),
      handshakeTimeout: limits.handshakeTimeoutMs,
      noDelay: true,
    });
    this.#server.maxConnections = limits.maxSessions + limits.maxHandshakes;
    this.#server.on("connection", (socket: Socket) => this.#handshakes.begin(socket));
    this.#server.on("secureConnection", (socket: TLSSocket) => this.#onSecure(socket));
    this.#server.on("tlsClientError", (error: Error, socket: TLSSocket) => {
      this.#refuse(socket, handshakeFailure(error, socket));
    });
    this.#server.on("drop", (data?: { remoteAddress?: string; remotePort?: number }) => {
      const remote = formatAuthority(data?.remoteAddress ?? "", data?.remotePort ?? 0);
      const failure = fail("TOO_MANY_CONNECTIONS", `${this.#sessions.size} sessions`);
      this.#options.onEvent({ kind: "session-refused", remote, peer: "", failure });
    });
    this.#stopWatching = identity.onChange((next) => this.#onIdentity(next));
  }

  get sessions(): number {
    return this.#sessions.size;
  }

  get streams(): number {
    let streams = 0;
    for (const session of this.#sessions) streams += session.streams;
    return streams;
  }

  async listen(): Promise<TunnelServer | Failure> {
    const { host, port, onEvent } = this.#options;
    const address = await bind(this.#server, host, port, (failure) => {
      onEvent({ kind: "session-refused", remote: "", peer: "", failure });
    });
    if (isFailure(address)) {
      this.#stopWatching();
      return address;
    }
    this.address = address;
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

  async close(): Promise<void> {
    this.stopAccepting();
    this.#stopWatching();
    for (const session of this.#sessions) session.end(fail("DRAINING", "the listener is closed"));
    if (this.#server.listening) await new Promise((resolve) => this.#server.once("close", resolve));
  }

  #onSecure(socket: TLSSocket): void {
    const { identity, limits, clock, onRequest, onEvent } = this.#options;
    const remote = this.#handshakes.succeeded(socket);
    const own = identity.get();
    const peer = this.#admit(socket, own);
    if (isFailure(peer)) return this.#refuse(socket, peer);
    const share = this.#shares.session(peer.id);
    if (isFailure(share)) return this.#refuse(socket, share);
    const keyGroup = keyGroupOf(socket);
    const session = new ServerSession({
      session: performServerHandshake(socket, serverSessionOptions(limits)),
      socket,
      peer,
      keyGroup,
      identity: own,
      source: endpoint(socket.remoteAddress, socket.remotePort),
      local: endpoint(socket.localAddress, socket.localPort),
      limits,
      clock,
      shares: this.#shares,
      share,
      onRequest,
      onRefused: (_session, failure) => onEvent({ kind: "request-refused", remote, peer: peer.id, failure }),
      onEnd: (ended, failure) => {
        this.#sessions.delete(ended);
        this.#shares.sessionEnded(peer.id, share);
        if (this.#sessions.size === 0) this.#stopTicking();
        onEvent({ kind: "session-ended", remote, peer: peer.id, failure });
      },
    });
    this.#sessions.add(session);
    this.#tick ??= clock.every(TICK_MS, () => {
      for (const each of this.#sessions) each.tick();
    });
    onEvent({ kind: "session-opened", remote, peer: peer.id, keyGroup, failure: undefined });
  }

  #admit(socket: TLSSocket, own: Identity): ReturnType<typeof peerOfSocket> {
    const { limits, clock } = this.#options;
    if (this.#isClosing) return fail("DRAINING", "the listener drains");
    if (this.#sessions.size >= limits.maxSessions)
      return fail("TOO_MANY_CONNECTIONS", `${limits.maxSessions} sessions`);
    if (clock.now() >= own.svid.notAfter) return fail("IDENTITY_EXPIRED", "our own certificate");
    return peerOfSocket(socket, own, clock, "client");
  }

  #refuse(socket: TLSSocket, failure: Failure): void {
    const remote = this.#handshakes.refuse(socket);
    this.#options.onEvent({ kind: "session-refused", remote, peer: "", failure });
  }

  /** New handshakes get the new certificate; sessions of the old one are drained, spread so that they never return together. */
  #onIdentity(identity: Identity): void {
    this.#server.setSecureContext(this.#contexts.serverOptions());
    for (const session of this.#sessions) session.identityChanged(identity);
  }

  #stopTicking(): void {
    this.#tick?.cancel();
    this.#tick = undefined;
  }
}

/** What OpenSSL says of the certificate, if that was the reason; the error itself often only says that it hung up. */
function handshakeFailure(error: Error, socket: TLSSocket): Failure {
  const verdict = socket.authorizationError as Error | string | null | undefined;
  if (verdict === undefined || verdict === null) return acceptFailure(error);
  return certificateFailure(verdict instanceof Error ? verdict.message : verdict);
}
