// Machine. DNS by UDP: one request, one answer, each a datagram.
import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BoundAddress } from "@culvert/shared/net/bind.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import { processListeners } from "@culvert/shared/net/listeners.ts";
import { processMemory } from "@culvert/shared/net/memory.ts";
import type { Forwarder } from "./forwarder.ts";
import type { Responder } from "./responder.ts";

/** Elsewhere the option does not exist, or does not deal datagrams out. */
const CAN_SHARE = process.platform === "linux";

/** A UDP listener that is bound. */
export interface UdpListener {
  readonly address: BoundAddress;
  /** Leaves the port to a successor as soon as no answer is owed. */
  stopAccepting(): void;
  close(): Promise<void>;
}

/** What a UDP listener needs. */
export interface UdpListenerOptions {
  /** An IP address. */
  readonly host: string;
  readonly port: number;
  readonly responder: Responder;
  readonly forwarder: Forwarder;
  /** Of no request in particular. */
  readonly onError: (failure: Failure) => void;
}

/**
 * Binds a UDP port and serves it, shared as TCP ports are: on purpose, with a process that is to be taken over from. Fails with
 * PORT_UNAVAILABLE.
 */
export async function listenUdp(options: UdpListenerOptions): Promise<UdpListener | Failure> {
  const { host, port, onError } = options;
  const shared = CAN_SHARE && port !== 0;
  if (shared && !processListeners.beside) {
    const probe = await bindSocket(host, port, false);
    if (isFailure(probe)) return probe;
    await new Promise<void>((closed) => probe.close(closed));
  }
  const socket = await bindSocket(host, port, shared);
  if (isFailure(socket)) return socket;
  socket.on("error", (error: NodeJS.ErrnoException) => onError(fail("INTERNAL", error.code ?? error.message)));
  return new BoundListener(socket, options);
}

class BoundListener implements UdpListener {
  readonly address: BoundAddress;
  readonly #socket: Socket;
  readonly #options: UdpListenerOptions;
  #owed = 0;
  #isLeaving = false;
  #closed: Promise<void> | undefined;

  constructor(socket: Socket, options: UdpListenerOptions) {
    const { address, port } = socket.address();
    this.address = { host: address, port };
    this.#socket = socket;
    this.#options = options;
    socket.on("message", (asked, from) => void this.#serve(asked, from));
  }

  stopAccepting(): void {
    this.#isLeaving = true;
    if (this.#owed === 0) void this.close();
  }

  close(): Promise<void> {
    this.#closed ??= new Promise((closed) => this.#socket.close(closed));
    return this.#closed;
  }

  /** Never rejects. */
  async #serve(asked: Buffer, from: RemoteInfo): Promise<void> {
    const { responder, forwarder } = this.#options;
    processMemory.received(asked.length);
    let verdict = responder.judge(asked, "udp", formatHostPort(from.address, from.port));
    if (verdict === undefined) return;
    if (verdict instanceof Promise) {
      this.#owed += 1;
      verdict = await verdict;
      this.#owed -= 1;
    }
    if (Buffer.isBuffer(verdict)) return this.#send(verdict, from);
    const { query, series } = verdict;
    this.#owed += 1;
    const outcome = await forwarder.ask(asked, query, series);
    this.#owed -= 1;
    this.#send(isFailure(outcome) ? responder.failed(asked, query, "udp", outcome) : outcome, from);
  }

  #send(reply: Buffer, to: RemoteInfo): void {
    if (this.#closed !== undefined) return;
    // The client may be gone, or out of buffers: it asks again, as for any datagram that is lost.
    this.#socket.send(reply, to.port, to.address, () => {
      if (this.#isLeaving && this.#owed === 0) void this.close();
    });
  }
}

function bindSocket(host: string, port: number, reusePort: boolean): Promise<Socket | Failure> {
  const socket = createSocket(
    host.includes(":") ? { type: "udp6", ipv6Only: true, reusePort } : { type: "udp4", reusePort },
  );
  return new Promise((resolve) => {
    socket.once("error", (error: NodeJS.ErrnoException) => {
      socket.close();
      resolve(fail("PORT_UNAVAILABLE", `cannot listen on ${formatHostPort(host, port)}/udp: ${error.code}`));
    });
    socket.bind({ address: host, port, exclusive: true }, () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}
