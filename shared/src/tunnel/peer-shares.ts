// Machine. What the verified peers of a tunnel port hold, together and each for itself, so that one identity cannot take it all.
import { fail } from "../failure/failure.ts";
import type { Failure } from "../failure/failure.ts";
import type { SpiffeId } from "../identity/spiffe-id.ts";
import type { TunnelLimits } from "./limits.ts";

/** What one identity holds, over all of its sessions. */
export interface PeerShare {
  sessions: number;
  streams: number;
}

/** See the head of the file. */
export class PeerShares {
  readonly #limits: TunnelLimits;
  readonly #peers = new Map<SpiffeId, PeerShare>();
  /** Streams of all peers. */
  #streams = 0;

  constructor(limits: TunnelLimits) {
    this.#limits = limits;
  }

  /** Identities that hold anything. */
  get peers(): number {
    return this.#peers.size;
  }

  /** One more session of a peer; its share, to be given to the calls below. Fails with TOO_MANY_CONNECTIONS. */
  session(peer: SpiffeId): PeerShare | Failure {
    const share = this.#peers.get(peer) ?? { sessions: 0, streams: 0 };
    if (share.sessions >= this.#limits.maxSessionsPerPeer) {
      return fail("TOO_MANY_CONNECTIONS", `${share.sessions} sessions of ${peer}`);
    }
    this.#peers.set(peer, share);
    share.sessions += 1;
    return share;
  }

  sessionEnded(peer: SpiffeId, share: PeerShare): void {
    share.sessions -= 1;
    if (share.sessions === 0) this.#peers.delete(peer);
  }

  /** One more stream; `streamEnded` is owed unless it fails with TOO_MANY_CONNECTIONS. */
  stream(share: PeerShare): Failure | undefined {
    const { maxTunnels, maxTunnelsPerPeer } = this.#limits;
    if (this.#streams >= maxTunnels) return fail("TOO_MANY_CONNECTIONS", `${this.#streams} tunnels`);
    if (share.streams >= maxTunnelsPerPeer) {
      return fail("TOO_MANY_CONNECTIONS", `${share.streams} tunnels of this identity`);
    }
    this.#streams += 1;
    share.streams += 1;
    return undefined;
  }

  streamEnded(share: PeerShare): void {
    this.#streams -= 1;
    share.streams -= 1;
  }
}
