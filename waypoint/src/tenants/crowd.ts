// Machine. The connections to one endpoint that speaks HTTP/1.1, where each request in flight has one of its own and there are only so
// many: one tenant's requests that the endpoint does not answer leave room for another's. The first of them are anybody's, so that
// an endpoint with few requests in flight costs nobody a count.
import { DEFAULT_HTTP_LIMITS } from "../http/limits.ts";
import { Pool, Share } from "./share.ts";

/** Requests in flight at one endpoint that are nobody's; the others are counted. */
export const UNCOUNTED = 512;

/** See the head of the file. */
export class Crowd {
  readonly #pool = new Pool(DEFAULT_HTTP_LIMITS.upstreamPerEndpoint - UNCOUNTED);
  readonly #shares = new Map<object, Share>();

  /** One more request of a tenant; `false`: it has as many as are free. Else `leave` is owed. */
  join(tenant: object): boolean {
    const share = this.#shares.get(tenant) ?? new Share(this.#pool);
    if (!share.take(1)) return false;
    if (share.used === 1) this.#shares.set(tenant, share);
    return true;
  }

  leave(tenant: object): void {
    const share = this.#shares.get(tenant);
    share?.give(1);
    if (share?.used === 0) this.#shares.delete(tenant);
  }
}
