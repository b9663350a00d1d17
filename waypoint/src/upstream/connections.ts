// Machine. The connections of the process to its applications, whichever version of HTTP they speak.
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel } from "../channel/channel.ts";
import type { Endpoint } from "../exchange-services.ts";
import type { HttpVersion, UpstreamRequest } from "../http/message.ts";
import type { UpstreamPool } from "../http1/upstream-pool.ts";
import type { Http2Pool } from "../http2/upstream-pool.ts";
import { AgreedConnections, type VersionPool } from "./agreed-connections.ts";

/** Gives each request a way to its endpoint. */
export class UpstreamConnections {
  readonly #http1: UpstreamPool;
  readonly #http2: Http2Pool;
  readonly #agreed: AgreedConnections;

  constructor(http1: UpstreamPool, http2: Http2Pool) {
    this.#http1 = http1;
    this.#http2 = http2;
    this.#agreed = new AgreedConnections(http1, http2);
  }

  /** A way that is open already. `asked` is what the client speaks, for endpoints that speak either. */
  take(endpoint: Endpoint, asked: HttpVersion): UpstreamRequest | undefined {
    return this.#waysTo(endpoint, asked).take(endpoint.key);
  }

  /**
   * A new way: to be started, or given back. Never rejects.
   *
   * @param opener for whom: a connection that is being dialled for somebody else is not waited for
   * @param dial opens a connection to the endpoint, if one is needed
   */
  async open(
    endpoint: Endpoint,
    asked: HttpVersion,
    opener: object,
    dial: () => Promise<ByteChannel | Failure>,
  ): Promise<UpstreamRequest | Failure> {
    try {
      return await this.#waysTo(endpoint, asked).open(endpoint, opener, dial);
    } catch (error) {
      return fail("INTERNAL", String(error));
    }
  }

  /** Connections, and those of them that are idle. */
  get size(): { readonly total: number; readonly idle: number } {
    const [one, two] = [this.#http1.size, this.#http2.size];
    return { total: one.total + two.total, idle: one.idle + two.idle };
  }

  /** Ends what is idle in order; what is in use ends with its requests. */
  drain(): void {
    this.#http1.drain();
    this.#http2.drain();
  }

  #waysTo({ speaks }: Endpoint, asked: HttpVersion): VersionPool {
    if (speaks === "alpn") return this.#agreed;
    return speaks === "http2" || (speaks === "either" && asked === "HTTP/2") ? this.#http2 : this.#http1;
  }
}
