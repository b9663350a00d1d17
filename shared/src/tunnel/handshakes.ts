// Machine. Connections of a TLS port whose handshake is not over: they have proved nothing, so they are bounded, as a whole and by
// address, and the one that takes longest makes room.
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { processDescriptors } from "../net/descriptors.ts";
import { formatHostPort } from "../net/ip.ts";
import type { TunnelLimits } from "./limits.ts";

/** See the head of the file. */
export class Handshakes {
  readonly #limits: Pick<TunnelLimits, "maxHandshakes" | "maxHandshakesPerAddress">;
  /** By remote address, oldest first. */
  readonly #open = new Map<string, Socket>();
  /** `ip:port` of those connections: a socket whose handshake has failed no longer knows it. */
  readonly #remotes = new WeakMap<Socket, string>();

  constructor(limits: Pick<TunnelLimits, "maxHandshakes" | "maxHandshakesPerAddress">) {
    this.#limits = limits;
  }

  /** A connection has come; it is destroyed where no descriptor is left for it. */
  begin(socket: Socket): void {
    const { fd = -1 } = (socket as unknown as { _handle?: { fd?: number } })._handle ?? {};
    if (!processDescriptors.admit(fd)) {
      socket.destroy();
      return;
    }
    const key = remoteOf(socket);
    this.#remotes.set(socket, key);
    this.#open.set(key, socket);
    socket.on("close", () => this.#open.delete(key));
    const { maxHandshakes, maxHandshakesPerAddress } = this.#limits;
    if (this.#open.size > maxHandshakes) {
      const [oldest] = this.#open.values();
      oldest?.destroy();
    } else if (this.#open.size > maxHandshakesPerAddress) this.#makeRoom(socket, maxHandshakesPerAddress);
  }

  /** Its handshake has succeeded; returns `ip:port` of the other side. */
  succeeded(socket: TLSSocket): string {
    const remote = remoteOf(socket);
    this.#open.delete(remote);
    socket.on("error", ignore);
    return remote;
  }

  /** Destroys a connection that is not wanted, or whose handshake has failed; returns `ip:port` of the other side. */
  refuse(socket: TLSSocket): string {
    socket.on("error", ignore);
    // A private link to the TCP socket below; without it the log names no address.
    const { _parent: tcp } = socket as TLSSocket & { readonly _parent?: Socket };
    const remote = (tcp === undefined ? undefined : this.#remotes.get(tcp)) ?? remoteOf(socket);
    socket.destroy();
    return remote;
  }

  /** Ends all of them. */
  close(): void {
    for (const socket of this.#open.values()) socket.destroy();
  }

  /** Bounds those of one address: its own slowest one makes room, nobody else's. */
  #makeRoom({ remoteAddress }: Socket, most: number): void {
    let oldest: Socket | undefined;
    let count = 0;
    for (const socket of this.#open.values()) {
      if (socket.remoteAddress !== remoteAddress) continue;
      oldest ??= socket;
      count += 1;
    }
    if (count > most) oldest?.destroy();
  }
}

function remoteOf(socket: Socket): string {
  return formatHostPort(socket.remoteAddress ?? "", socket.remotePort ?? 0);
}

function ignore(): void {}
