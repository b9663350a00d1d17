// Machine. A TCP connection to a resolver, for the requests of one client: nothing of anybody else is in it, so ids stay as they
// are and whatever comes back, however many messages, is that client's.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { connectBulk } from "@culvert/shared/net/connect-bulk.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { Endpoint } from "@culvert/shared/net/endpoint.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import { releaseSlab } from "@culvert/shared/net/slabs.ts";
import { frame, FrameReader } from "./frames.ts";
import { HEADER_BYTES } from "./message.ts";

/** What a connection tells. */
export interface ResolverEvents {
  /** A whole message; `false` pauses the connection until `resume`. */
  readonly onMessage: (message: Buffer) => boolean;
  /** No more comes: in order, or as the failure says. Told once, after every message, and not after `close`. */
  readonly onClose: (failure: Failure | undefined) => void;
}

/** See the head of the file. Make it with `openResolver`. */
export class ResolverConnection {
  readonly resolver: Endpoint;
  readonly #socket: BulkSocket;
  readonly #frames = new FrameReader();
  readonly #events: ResolverEvents;
  readonly #ownSources: Set<string>;
  readonly #from: string;
  #isEnded = false;
  #isClosed = false;

  constructor(resolver: Endpoint, socket: BulkSocket, events: ResolverEvents, ownSources: Set<string>) {
    this.resolver = resolver;
    this.#socket = socket;
    this.#events = events;
    this.#ownSources = ownSources;
    this.#from = formatHostPort(socket.local.ip, socket.local.port);
    ownSources.add(this.#from);
    socket.setSink({
      onBytes: (chunk, slab) => {
        this.#frames.push(slab === undefined ? chunk : Buffer.from(chunk));
        if (slab !== undefined) releaseSlab(slab);
        return this.#deliver();
      },
      onEnd: () => {
        this.#isEnded = true;
        this.#deliver();
      },
      onClose: (failure) => this.#ended(failure ?? fail("DNS_UPSTREAM_FAILED", "the resolver closed the connection")),
    });
    socket.resume();
  }

  send(message: Buffer): void {
    this.#socket.write(frame(message));
  }

  /** Goes on after a pause. */
  resume(): void {
    if (!this.#isClosed && this.#deliver()) this.#socket.resume();
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#ownSources.delete(this.#from);
    this.#socket.reset();
  }

  #deliver(): boolean {
    for (let message = this.#frames.next(); message !== undefined; message = this.#frames.next()) {
      // Too short to be anybody's answer.
      if (message.length < HEADER_BYTES) {
        this.#ended(fail("DNS_UPSTREAM_FAILED", "a message shorter than a header"));
        return false;
      }
      if (!this.#events.onMessage(message)) return false;
      if (this.#isClosed) return false;
    }
    // What came before the end is delivered before it.
    if (this.#isEnded) this.#ended(undefined);
    return !this.#isEnded;
  }

  #ended(failure: Failure | undefined): void {
    if (this.#isClosed) return;
    this.close();
    this.#events.onClose(failure);
  }
}

/** Connects to the first of the resolvers that takes it; `timeoutMs` for each. Fails with DNS_UPSTREAM_FAILED. */
export async function openResolver(
  resolvers: readonly Endpoint[],
  options: { readonly clock: Clock; readonly timeoutMs: number; readonly ownSources: Set<string> },
  events: ResolverEvents,
): Promise<ResolverConnection | Failure> {
  const { clock, timeoutMs, ownSources } = options;
  let failure = fail("DNS_UPSTREAM_FAILED", "no resolver is configured");
  for (const resolver of resolvers) {
    const socket = await connectBulk({ host: resolver.ip, port: resolver.port, timeoutMs, clock });
    if (!isFailure(socket)) return new ResolverConnection(resolver, socket, events, ownSources);
    failure = fail("DNS_UPSTREAM_FAILED", `tcp ${socket.detail}`);
  }
  return failure;
}
