// Machine. Finds own connections that a rule of capture has turned back to this proxy, which it would dial and accept without
// end: the wrong user id in a rule is enough. A connection that we make and its captured other end have the same two addresses.
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import type { SocketOptions } from "@culvert/shared/net/socket-options.ts";

/** See the head of the file. */
export class LoopGuard {
  readonly #sockets: Pick<SocketOptions, "localAddress">;
  readonly #dialled = new Set<string>();

  constructor(sockets: Pick<SocketOptions, "localAddress">) {
    this.#sockets = sockets;
  }

  /**
   * Notes a plain connection whose first packet has been sent. Not later: on loopback its other end is accepted before we hear
   * that we are connected, and the next connection is made, and so on.
   */
  dialling(socket: BulkSocket, host: string, port: number): void {
    const local = this.#sockets.localAddress(socket.descriptor);
    if (local === undefined) return;
    const key = pair(local, host, port);
    this.#dialled.add(key);
    socket.socket.once("close", () => this.#dialled.delete(key));
  }

  /** Whether a connection that was captured on its way to `original` is one of our own. */
  isOwn(socket: BulkSocket, original: Endpoint): boolean {
    return this.#dialled.size > 0 && this.#dialled.has(pair(socket.remote, original.ip, original.port));
  }
}

function pair(from: Endpoint, host: string, port: number): string {
  return `${formatHostPort(from.ip, from.port)} ${formatHostPort(host, port)}`;
}
