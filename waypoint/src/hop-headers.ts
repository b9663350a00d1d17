// Pure. The fields that this hop puts on a request in place of what came in: who called, through what,
// under which id. What the client sent under these names was taken out before; nothing that it nominates touches them.
import type { ExchangePeer } from "./exchange-services.ts";

/** The fields that are the same for each request of one connection, built once. */
export class HopHeaders {
  /** The client has proved who it is: what it says of its requests is believed. */
  readonly knowsPeer: boolean;
  readonly #address: string;
  readonly #viaToken: string;
  /** The line of the client's certificate, empty for plaintext. */
  readonly #certificate: string;
  /** All lines but the request id, for the usual request that comes straight from its client. */
  readonly #usual: string;

  constructor(peer: ExchangePeer) {
    this.knowsPeer = peer.id !== undefined;
    this.#address = peer.address;
    this.#viaToken = peer.viaToken;
    const by = peer.ownId === undefined ? "" : `By=${peer.ownId};`;
    this.#certificate = peer.id === undefined ? "" : `x-forwarded-client-cert: ${by}URI=${peer.id}\r\n`;
    this.#usual = this.#lines(peer.address, peer.viaToken);
  }

  /**
   * The lines to insert, each with its CRLF.
   *
   * @param forwardedFor the request's `x-forwarded-for`, to which the client's address is appended
   * @param via the request's `x-culvert-via`, to which our token is appended
   */
  insert(forwardedFor: string, via: string, requestId: string): string {
    const lines =
      forwardedFor === "" && via === ""
        ? this.#usual
        : this.#lines(
            forwardedFor === "" ? this.#address : `${forwardedFor}, ${this.#address}`,
            via === "" ? this.#viaToken : `${via}, ${this.#viaToken}`,
          );
    return `${lines}x-request-id: ${requestId}\r\n`;
  }

  /**
   * Why a request that came by way of `via` must not go on, or `undefined`: it has been here before on its way to the same
   * destination, or it has passed `maxHops` waypoints already.
   */
  loop(via: string, maxHops: number): string | undefined {
    if (via === "") return undefined;
    const hops = via.split(",", maxHops + 1).map((hop) => hop.trim());
    if (hops.includes(this.#viaToken)) return `passed ${this.#viaToken} before`;
    return hops.length >= maxHops ? `passed ${maxHops} waypoints or more` : undefined;
  }

  #lines(forwardedFor: string, via: string): string {
    return `x-forwarded-for: ${forwardedFor}\r\n${this.#certificate}x-culvert-via: ${via}\r\n`;
  }
}
