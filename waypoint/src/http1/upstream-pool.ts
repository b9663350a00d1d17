// Machine. Kept-alive upstream connections by endpoint. The one used last is used next, so that the others grow old and are
// let go; each idle one is watched, and one that says or ends anything is gone before it can be chosen.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel } from "../channel/channel.ts";
import type { Endpoint } from "../exchange-services.ts";
import type { Http1Shared } from "./shared-state.ts";
import { Http1Upstream, type UpstreamHome } from "./upstream.ts";

interface Shelf {
  readonly idle: Http1Upstream[];
  /** Connections to this endpoint, whatever they do, and those being opened. */
  total: number;
}

/** The connections of one process to its applications. */
export class UpstreamPool implements UpstreamHome {
  readonly #shared: Http1Shared;
  readonly #shelves = new Map<string, Shelf>();
  readonly #resting: Http1Upstream[] = [];
  #draining = false;

  constructor(shared: Http1Shared) {
    this.#shared = shared;
  }

  /** An idle connection, taken off the shelf. */
  take(key: string): Http1Upstream | undefined {
    return this.#shelves.get(key)?.idle.pop();
  }

  /**
   * One more connection to `endpoint`, not on the shelf: start a request on it, or give it back. TOO_MANY_CONNECTIONS when the
   * endpoint has as many as it may, APP_UNREACHABLE when it ends at once, else what `dial` says.
   */
  async open(
    endpoint: Endpoint,
    _opener: object,
    dial: () => Promise<ByteChannel | Failure>,
  ): Promise<Http1Upstream | Failure> {
    const { key, address } = endpoint;
    if (!this.#reserve(key)) return fail("TOO_MANY_CONNECTIONS", `to ${address}`);
    const channel = await dial();
    if (isFailure(channel)) {
      this.#drop(key);
      return channel;
    }
    const connection = new Http1Upstream(channel, key, this, this.#shared);
    return connection.idle ? connection : fail("APP_UNREACHABLE", `${address} ended the connection at once`);
  }

  #reserve(key: string): boolean {
    const shelf = this.#shelves.get(key);
    if (shelf === undefined) this.#shelves.set(key, { idle: [], total: 1 });
    else if (shelf.total >= this.#shared.limits.upstreamPerEndpoint) return false;
    else shelf.total += 1;
    return true;
  }

  /**
   * Takes back a connection whose response is whole. It must keep silent for the rest of the turn before it serves again:
   * what came in together with that response would otherwise be the answer to somebody else's request.
   */
  release(connection: Http1Upstream): void {
    if (this.#resting.push(connection) === 1) setImmediate(this.#shelve);
  }

  remove(connection: Http1Upstream): void {
    const idle = this.#shelves.get(connection.key)?.idle ?? [];
    const index = idle.lastIndexOf(connection);
    if (index >= 0) idle.splice(index, 1);
    this.#drop(connection.key);
  }

  /** Ends every idle connection in order; those in use end with their requests. */
  drain(): void {
    this.#draining = true;
    for (const shelf of this.#shelves.values()) {
      for (const connection of shelf.idle.slice()) connection.retire();
    }
  }

  /** Connections, and those of them that are idle. */
  get size(): { readonly total: number; readonly idle: number } {
    let total = 0;
    let idle = 0;
    for (const shelf of this.#shelves.values()) {
      total += shelf.total;
      idle += shelf.idle.length;
    }
    return { total, idle };
  }

  readonly #shelve = (): void => {
    for (const connection of this.#resting) {
      if (!connection.idle) continue;
      const shelf = this.#shelves.get(connection.key);
      const full = shelf === undefined || shelf.idle.length >= this.#shared.limits.upstreamIdlePerEndpoint;
      if (full || this.#draining) connection.retire();
      else shelf.idle.push(connection);
    }
    this.#resting.length = 0;
  };

  #drop(key: string): void {
    const shelf = this.#shelves.get(key);
    if (shelf === undefined) return;
    shelf.total -= 1;
    if (shelf.total === 0) this.#shelves.delete(key);
  }
}
