// Machine. The way to a session with a peer proxy: a TCP connection, or a tunnel that is made meanwhile, and the TLS handshake over
// it, each under its deadline. Who answers is not looked at here.
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { connect as connectTls } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { Compliance } from "../identity/tls.ts";
import type { Clock, Timer } from "../net/clock.ts";
import { preparedDescriptor } from "../net/prepared-dials.ts";
import { failureOf } from "./carrier.ts";
import type { TunnelLimits } from "./limits.ts";
import type { TunnelTarget } from "./target.ts";
import { connectFailure } from "./tls-failure.ts";

export interface PeerDialOptions {
  readonly target: TunnelTarget;
  /** `ip:port` of the peer. */
  readonly remote: string;
  readonly tls: ConnectionOptions;
  /** What those options comply with. */
  readonly compliance: Compliance | undefined;
  readonly limits: TunnelLimits;
  readonly clock: Clock;
  /** What TLS runs over; a TCP connection to the target when not given. Destroyed with the TLS connection. */
  readonly carrier: Duplex | undefined;
  /** The handshake is over; the dial hears nothing of the socket any more once `exit` was called. */
  readonly onSecure: (socket: TLSSocket) => void;
  readonly onFailed: (failure: Failure) => void;
}

/** See the head of the file. */
export class PeerDial {
  readonly #options: PeerDialOptions;
  readonly #socket: TLSSocket;
  #connected: boolean;
  #deadline: Timer;

  /** Starts it. */
  constructor(options: PeerDialOptions) {
    const { target, tls, limits, carrier } = options;
    this.#options = options;
    const socket = connectTls({ ...tls, ...(carrier === undefined ? dialled(target) : { socket: carrier }) });
    this.#socket = socket;
    this.#connected = carrier !== undefined;
    // A carrier is opened meanwhile, under deadlines of its own.
    const openMs = this.#connected ? limits.answerTimeoutMs + limits.handshakeTimeoutMs : 0;
    const what = this.#connected ? "session by way of it" : "TCP connection";
    this.#deadline = this.#within(limits.connectTimeoutMs + openMs, what);
    socket.on("error", ignore);
    carrier?.once("error", this.#onError).once("close", () => socket.destroy());
    if (carrier !== undefined) socket.once("close", () => carrier.destroy());
    socket.once("connect", this.#onConnect).once("secureConnect", this.#onSecure);
    socket.once("error", this.#onError).once("close", this.#onClose);
  }

  /** Hears no more: the socket is somebody else's, or nobody's. */
  exit(): void {
    this.#deadline.cancel();
    this.#socket.off("connect", this.#onConnect).off("secureConnect", this.#onSecure);
    this.#socket.off("error", this.#onError).off("close", this.#onClose);
  }

  /** Gives it up. */
  end(): void {
    this.exit();
    this.#socket.destroy();
  }

  readonly #onConnect = (): void => {
    this.#connected = true;
    this.#deadline.cancel();
    this.#deadline = this.#within(this.#options.limits.handshakeTimeoutMs, "TLS handshake");
  };

  readonly #onSecure = (): void => this.#options.onSecure(this.#socket);

  readonly #onError = (error: NodeJS.ErrnoException): void =>
    this.#options.onFailed(failureOf(error) ?? this.#failure(error));

  readonly #onClose = (): void => {
    this.#options.onFailed(fail("PEER_TLS_FAILURE", `${this.#options.remote}: closed during the handshake`));
  };

  #within(ms: number, what: string): Timer {
    const { clock, remote, onFailed } = this.#options;
    return clock.after(ms, () => onFailed(fail("PEER_TIMEOUT", `${remote}: no ${what} in ${ms} ms`)));
  }

  #failure(error: NodeJS.ErrnoException): Failure {
    const { remote, compliance } = this.#options;
    if (this.#connected) return connectFailure(error, remote, compliance === "pqc");
    const detail = `${remote}: ${error.code ?? error.message}`;
    if (error.code === "ECONNREFUSED") return fail("PEER_REFUSED", detail);
    return fail(error.code === "ETIMEDOUT" ? "PEER_TIMEOUT" : "PEER_UNREACHABLE", detail);
  }
}

/** The options of a TCP connection to a peer. */
function dialled({ ip, port }: TunnelTarget): object {
  const where = { host: ip, port, autoSelectFamily: false };
  const descriptor = preparedDescriptor(ip);
  return descriptor === undefined ? where : { socket: preparedSocket(descriptor).connect(where) };
}

/** A socket that is not connected yet, and would fail if it read at once. */
function preparedSocket(fd: number): Socket {
  return new Socket({ fd, readable: true, writable: true, manualStart: true } as object);
}

function ignore(): void {}
