// Machine. HTTP/2 sessions by endpoint. Requests share a session as far as it goes; those that come while one is being opened wait
// for it, and where the application allows few requests at once there are several.
import { type Failure, fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel } from "../channel/channel.ts";
import type { Endpoint } from "../exchange-services.ts";
import type { UpstreamRequest } from "../http/message.ts";
import type { Http2Shared } from "./shared-state.ts";
import { UpstreamSession, type SessionHome } from "./upstream-session.ts";

type Dial = () => Promise<ByteChannel | Failure>;

interface Waiter {
  readonly endpoint: Endpoint;
  readonly dial: Dial;
  readonly resolve: (request: UpstreamRequest | Failure) => void;
}

interface Shelf {
  /** Those that take requests. */
  readonly sessions: UpstreamSession[];
  /** Dials, and sessions whose SETTINGS have not come. */
  opening: number;
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
  open(endpoint: Endpoint, dial: Dial): Promise<UpstreamRequest | Failure> {
    return new Promise((resolve) => {
      const shelf = this.#shelf(endpoint.key);
      const needsOne = shelf.waiters.length >= shelf.opening * shelf.streams;
      if (needsOne && shelf.sessions.length + shelf.opening >= this.#shared.limits.upstreamSessions) {
        resolve(fail("TOO_MANY_CONNECTIONS", `to ${endpoint.address}`));
        return;
      }
      shelf.waiters.push({ endpoint, dial, resolve });
      if (needsOne) this.#dial(endpoint, shelf, dial);
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
      shelf = { sessions: [], opening: 0, streams: this.#shared.limits.session.assumedPeerStreams, waiters: [] };
      this.#shelves.set(key, shelf);
    }
    return shelf;
  }

  #dial(endpoint: Endpoint, shelf: Shelf, dial: Dial): void {
    shelf.opening += 1;
    dial().then(
      (channel) => this.#dialled(endpoint, shelf, channel),
      (error: unknown) => this.#dialled(endpoint, shelf, fail("INTERNAL", String(error))),
    );
  }

  #dialled(endpoint: Endpoint, shelf: Shelf, channel: ByteChannel | Failure): void {
    // From here on the session tells.
    if (!isFailure(channel)) new UpstreamSession(channel, endpoint.key, this, this.#shared).open();
    else {
      this.#failed(shelf, channel);
      this.#tidy(endpoint.key, shelf);
    }
  }

  /** A session did not come about: those who would have had their place on it are told. */
  #failed(shelf: Shelf, failure: Failure): void {
    shelf.opening -= 1;
    const count = shelf.opening === 0 ? shelf.waiters.length : Math.min(shelf.streams, shelf.waiters.length);
    for (const { resolve } of shelf.waiters.splice(0, count)) resolve(failure);
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
      this.#dial(waiter.endpoint, shelf, waiter.dial);
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

/** The session with most requests that takes another one, so that the others grow idle and are let go. */
function withRoom({ sessions }: Shelf): UpstreamSession | undefined {
  for (const session of sessions) if (session.hasRoom) return session;
  return undefined;
}
