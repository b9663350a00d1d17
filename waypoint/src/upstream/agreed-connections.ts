// Machine. Connections to applications of which the handshake of TLS says what they speak (ALPN). The first request to an endpoint
// finds out; the others wait for that, and then ask the pool of that version, so that they share sessions where it has any.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel } from "../channel/channel.ts";
import type { Endpoint } from "../exchange-services.ts";
import type { UpstreamRequest } from "../http/message.ts";

type Dial = () => Promise<ByteChannel | Failure>;

/** What the pool of either version does. */
export interface VersionPool {
  take(key: string): UpstreamRequest | undefined;
  open(endpoint: Endpoint, opener: object, dial: Dial): Promise<UpstreamRequest | Failure>;
}

/** Endpoints of which the version is remembered; of one that is forgotten it is found out again. */
const MOST_KNOWN = 4_096;
/** Rounds of a request to an endpoint that agrees on another version each time. */
const MOST_ROUNDS = 3;

/** To be told apart by identity: an endpoint has agreed on another version than it did before. */
const CHANGED: Failure = fail("BACKEND_TLS_FAILURE", "the application agrees on another version of HTTP each time");

/** See the head of the file. */
export class AgreedConnections {
  readonly #http1: VersionPool;
  readonly #http2: VersionPool;
  /** By the endpoint's key: whether it speaks HTTP/2. */
  readonly #known = new Map<string, boolean>();
  /** By the endpoint's key, and for whom: see `Http2Pool`. */
  readonly #finding = new Map<string, Map<object, Promise<Failure | undefined>>>();

  constructor(http1: VersionPool, http2: VersionPool) {
    this.#http1 = http1;
    this.#http2 = http2;
  }

  take(key: string): UpstreamRequest | undefined {
    return this.#http2.take(key) ?? this.#http1.take(key);
  }

  async open(endpoint: Endpoint, opener: object, dial: Dial): Promise<UpstreamRequest | Failure> {
    for (let round = 0; round < MOST_ROUNDS; round += 1) {
      const known = this.#known.get(endpoint.key);
      const finding = known === undefined ? this.#finding.get(endpoint.key)?.get(opener) : undefined;
      if (known === undefined && finding === undefined) return this.#find(endpoint, opener, dial);
      const failure = await finding;
      if (failure !== undefined) return failure;
      if (known === undefined) continue;
      const opened = await this.#pool(known).open(endpoint, opener, () => this.#dialAgain(endpoint.key, known, dial));
      if (opened !== CHANGED) return opened;
    }
    return CHANGED;
  }

  /** The first connection, which its own request goes by. */
  async #find(endpoint: Endpoint, opener: object, dial: Dial): Promise<UpstreamRequest | Failure> {
    const { key } = endpoint;
    const { promise, resolve } = Promise.withResolvers<Failure | undefined>();
    const finding = this.#finding.get(key) ?? new Map<object, Promise<Failure | undefined>>();
    this.#finding.set(key, finding.set(opener, promise));
    const found = (failure?: Failure): void => {
      finding.delete(opener);
      if (finding.size === 0) this.#finding.delete(key);
      resolve(failure);
    };
    let channel: ByteChannel | Failure;
    try {
      channel = await dial();
    } catch (error) {
      channel = fail("INTERNAL", String(error));
    }
    if (isFailure(channel)) {
      found(channel);
      return channel;
    }
    const isHttp2 = this.#learn(key, channel);
    const ready = channel;
    let isUsed = false;
    const opened = this.#pool(isHttp2).open(endpoint, opener, () => {
      isUsed = true;
      return Promise.resolve(ready);
    });
    // Whoever waits goes on only now, and finds a session that is being opened.
    found();
    const request = await opened;
    if (!isUsed) ready.reset(undefined);
    return request;
  }

  async #dialAgain(key: string, expected: boolean, dial: Dial): Promise<ByteChannel | Failure> {
    const channel = await dial();
    if (isFailure(channel) || this.#learn(key, channel) === expected) return channel;
    channel.reset(undefined);
    return CHANGED;
  }

  /** Without a word an application speaks HTTP/1.1. */
  #learn(key: string, { alpn }: ByteChannel): boolean {
    const isHttp2 = alpn === "h2";
    this.#known.delete(key);
    if (this.#known.size >= MOST_KNOWN)
      for (const [oldest] of this.#known.entries().take(1)) this.#known.delete(oldest);
    this.#known.set(key, isHttp2);
    return isHttp2;
  }

  #pool(isHttp2: boolean): VersionPool {
    return isHttp2 ? this.#http2 : this.#http1;
  }
}
