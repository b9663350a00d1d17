// Machine. Finds own connections that a rule of capture has turned back to this proxy, which it would dial and accept without
// end: the wrong user id in a rule is enough. A plain connection and its captured other end have the same two addresses, and
// either of them may be seen first.
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";

/** See the head of the file. */
export class LoopGuard {
  readonly #dialled = new Set<string>();
  readonly #captured = new Set<string>();

  /** Notes a connection that was captured on its way to `original`; `true` if it is one of our own. */
  captured(socket: BulkSocket, original: Endpoint): boolean {
    return note(socket, pair(socket.remote, original), this.#captured, this.#dialled);
  }

  /** Notes a plain connection that we made; `true` if it has come back to us. */
  dialled(socket: BulkSocket): boolean {
    return note(socket, pair(socket.local, socket.remote), this.#dialled, this.#captured);
  }
}

function note(socket: BulkSocket, key: string, own: Set<string>, others: ReadonlySet<string>): boolean {
  if (others.has(key)) return true;
  if (socket.destroyed) return false;
  own.add(key);
  socket.socket.once("close", () => own.delete(key));
  return false;
}

function pair(from: Endpoint, to: Endpoint): string {
  return `${formatHostPort(from.ip, from.port)} ${formatHostPort(to.ip, to.port)}`;
}
