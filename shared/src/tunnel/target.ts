// Types. Where a tunnel leads: a peer proxy, perhaps behind the gateway of another network, and whom each must prove to be.
import type { SpiffeId } from "../identity/spiffe-id.ts";
import type { Ip } from "../net/ip.ts";

/** A proxy and who it must prove to be: any one of `expected`. */
export interface TunnelTarget {
  readonly ip: Ip;
  readonly port: number;
  readonly expected: readonly SpiffeId[];
  /** Set where the proxy is in another network: address and port are then those of the gateway before it. */
  readonly via?: TunnelGateway;
}

/** The gateway of another network, which carries sessions on by what it is asked for and sees nothing of them. */
export interface TunnelGateway {
  /** Identities of which the gateway must prove one. */
  readonly expected: readonly SpiffeId[];
  /** `host:port` of the service behind it. */
  readonly authority: string;
  /** Peers behind it that one of is chosen for each session: so many sessions spread the tunnels over them. */
  readonly peers: number;
}
