// Machine. HTTP/2 sessions by endpoint. Requests share a session as far as it goes; those that come while one is being opened wait
// for it, and where the application allows few requests at once there are several. Nobody waits for a dial of somebody else's, which
// may have to wait for its turn.
import { type Failure, fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel } from "../channel/channel.ts";
import type { Endpoint } from "../exchange-services.ts";
import type { UpstreamRequest } from "../http/message.ts";
import type { Http2Shared } from "./shared-state.ts";
import { UpstreamSession, type SessionHome } from "./upstream-session.ts";

type Dial = () => Promise<ByteChannel | Failure>;

interface Waiter {
  readonly endpoint: Endpoint;
  readonly opener: object;
  readonly dial: Dial;
  readonly resolve: (request: UpstreamRequest | Failure) => void;
}

interface Shelf {
  /** Those that take requests. */
  readonly sessions: UpstreamSession[];
  /** Dials, and sessions whose SETTINGS have not come. */
  opening: number;
  /** Whose the dials among those are. */
  readonly dialling: object[];
  /** How many requests one session is expected to take. */
  streams: number;
  readonly waiters: Waiter[];
}

/** The sessions of one process to its applications. */
export class Http2Pool implements SessionHome {
  readonly #shared: Http2Shared;
  readonly #shelves = new Map<string, Shelf>();
  #draining = false;

  constructor(shared: Http2Shared) {
    this.#shared = shared;
  }

  /** A place on a session that is open. */
  take(key: string): UpstreamRequest | undefined {
    const shelf = this.#shelves.get(key);
    return shelf === undefined ? undefined : withRoom(shelf)?.take();
  }

  /**
   * A place on a session that is being opened. TOO_MANY_CONNECTIONS when the endpoint has as many as it may, else what `dial` says.
   */
  open(endpoint: Endpoint, opener: object, dial: Dial): Promise<UpstreamRequest | Failure> {
    return new Promise((resolve) => {
      const shelf = this.#shelf(endpoint.key);
      const needsOne = shelf.waiters.length >= shelf.opening * shelf.streams;
      const isFull = shelf.sessions.length + shelf.opening >= this.#shared.limits.upstreamSessions;
      if (needsOne && isFull) {
        resolve(fail("TOO_MANY_CONNECTIONS", `to ${endpoint.address}`));
        return;
      }
      const waiter = { endpoint, opener, dial, resolve };
      shelf.waiters.push(waiter);
      if (needsOne || (!isFull && isOthers(shelf, opener))) this.#dial(shelf, waiter);
    });
  }

  onReady(session: UpstreamSession): void {
    const shelf = this.#shelf(session.key);
    shelf.opening -= 1;
    shelf.streams = Math.max(1, session.most);
    shelf.sessions.push(session);
    this.#serve(shelf, session);
    this.#openMore(shelf);
  }

  onRoom(session: UpstreamSession): void {
    const shelf = this.#shelves.get(session.key);
    if (shelf !== undefined && shelf.waiters.length > 0) this.#serve(shelf, session);
    else if (this.#draining && session.idle) session.retire();
  }

  onLeaving(session: UpstreamSession): void {
    const shelf = this.#shelf(session.key);
    const index = shelf.sessions.indexOf(session);
    if (index >= 0) shelf.sessions.splice(index, 1);
    else if (!session.ready) {
      this.#failed(shelf, session.failure ?? fail("APP_UNREACHABLE", "it ended the connection at once"));
    }
    this.#tidy(session.key, shelf);
  }

  /** Ends every idle session in order; those in use end with their requests. */
  drain(): void {
    this.#draining = true;
    for (const shelf of this.#shelves.values()) {
      for (const session of shelf.sessions.slice()) if (session.idle) session.retire();
    }
  }

  /** Sessions that take requests, and those of them that are idle. */
  get size(): { readonly total: number; readonly idle: number } {
    let total = 0;
    let idle = 0;
    for (const { sessions, opening } of this.#shelves.values()) {
      total += sessions.length + opening;
      for (const session of sessions) if (session.idle) idle += 1;
    }
    return { total, idle };
  }

  #shelf(key: string): Shelf {
    let shelf = this.#shelves.get(key);
    if (shelf === undefined) {
      const streams = this.#shared.limits.session.assumedPeerStreams;
      shelf = { sessions: [], opening: 0, dialling: [], streams, waiters: [] };
      this.#shelves.set(key, shelf);
    }
    return shelf;
  }

  #dial(shelf: Shelf, { endpoint, opener, dial }: Waiter): void {
    shelf.opening += 1;
    shelf.dialling.push(opener);
    dial().then(
      (channel) => this.#dialled(endpoint, shelf, opener, channel),
      (error: unknown) => this.#dialled(endpoint, shelf, opener, fail("INTERNAL", String(error))),
    );
  }

  #dialled({ key }: Endpoint, shelf: Shelf, opener: object, channel: ByteChannel | Failure): void {
    shelf.dialling.splice(shelf.dialling.indexOf(opener), 1);
    // From here on the session tells.
    if (!isFailure(channel)) new UpstreamSession(channel, key, this, this.#shared).open();
    else {
      this.#failed(shelf, channel, opener);
      this.#tidy(key, shelf);
    }
  }

  /** A session did not come about: those who would have had their place on it are told, of a dial no others than its opener's. */
  #failed(shelf: Shelf, failure: Failure, opener?: object): void {
    shelf.opening -= 1;
    let left = shelf.opening === 0 ? shelf.waiters.length : shelf.streams;
    const isTold = (waiter: Waiter): boolean =>
      left > 0 && (opener === undefined || shelf.opening === 0 || waiter.opener === opener);
    for (const waiter of shelf.waiters.splice(0)) {
      if (!isTold(waiter)) shelf.waiters.push(waiter);
      else {
        left -= 1;
        waiter.resolve(failure);
      }
    }
  }

  #serve(shelf: Shelf, session: UpstreamSession): void {
    while (session.hasRoom) {
      const waiter = shelf.waiters.shift();
      if (waiter === undefined) return;
      waiter.resolve(session.take());
    }
  }

  /** For those who found no place on the session that they waited for. */
  #openMore(shelf: Shelf): void {
    const waiter = shelf.waiters[0];
    if (waiter === undefined || shelf.opening > 0) return;
    if (shelf.sessions.length < this.#shared.limits.upstreamSessions) {
      this.#dial(shelf, waiter);
      return;
    }
    for (const { endpoint, resolve } of shelf.waiters.splice(0)) {
      resolve(fail("TOO_MANY_CONNECTIONS", `to ${endpoint.address}`));
    }
  }

  #tidy(key: string, shelf: Shelf): void {
    if (shelf.sessions.length === 0 && shelf.opening === 0 && shelf.waiters.length === 0) this.#shelves.delete(key);
  }
}

/** Whether all that is being opened are dials of somebody else's. */
function isOthers({ opening, dialling }: Shelf, opener: object): boolean {
  return dialling.length === opening && !dialling.includes(opener);
}

/** The session with most requests that takes another one, so that the others grow idle and are let go. */
function withRoom({ sessions }: Shelf): UpstreamSession | undefined {
  for (const session of sessions) if (session.hasRoom) return session;
  return undefined;
}
