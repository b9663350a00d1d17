// Machine. Opens connections to endpoints: a tunnel to the endpoint's uproxy under the waypoint's own identity, or plain
// TCP to what is not in the mesh.
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import type { Permit } from "@culvert/shared/policy/decide.ts";
import { formatBaggage, tunnelHeaders } from "@culvert/shared/tunnel/headers.ts";
import { LateNews } from "@culvert/shared/tunnel/late-news.ts";
import type { TunnelLimits } from "@culvert/shared/tunnel/limits.ts";
import type { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import type { WaypointRef } from "@culvert/shared/workload/workload.ts";
import type { ByteChannel } from "../channel/channel.ts";
import type { Tenant } from "../tenants/tenants.ts";
import { socketChannel } from "../channel/socket-channel.ts";
import { streamChannel } from "../channel/stream-channel.ts";
import { dialEndpoint } from "../dial.ts";
import { BackendHandshakes } from "./backend-handshakes.ts";
import type { Reach, UpstreamEndpoint } from "./endpoints.ts";
import type { OutsideNames } from "./outside-names.ts";

/** Of one name, before the caller is told: a second and third may be in the other family. */
const MOST_ADDRESSES_TRIED = 4;

/** Of whose connection a tunnel is the continuation; `undefined` for those that requests of many callers share. */
export interface Origin {
  readonly clientAddress: string;
  readonly clientPort: number;
  readonly serviceHost: string | undefined;
  /** It speaks TLS itself: to the application, past us. */
  readonly speaksTls: boolean;
}

export interface UpstreamOptions {
  readonly pool: TunnelPool;
  readonly names: OutsideNames;
  readonly gateway: WaypointRef;
  readonly limits: TunnelLimits;
  readonly clock: Clock;
}

/** The way to all endpoints. */
export class Upstream {
  readonly #options: UpstreamOptions;
  readonly #handshakes: BackendHandshakes;
  readonly #lateNews: LateNews;
  readonly #baggage: string;
  readonly #sharedHeaders: Readonly<Record<string, string>>;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#handshakes = new BackendHandshakes(options.clock, options.limits.handshakeTimeoutMs);
    this.#lateNews = new LateNews(options.clock, options.limits);
    const { namespace, name } = options.gateway;
    this.#baggage = formatBaggage(
      new Map([
        ["k8s.namespace.name", namespace],
        ["service.name", name],
      ]),
    );
    this.#sharedHeaders = { "x-istio-source": "waypoint", baggage: this.#baggage };
  }

  /**
   * Opens one connection to an application, inside TLS where a policy asks for it. Deadlines are those of the limits.
   *
   * @param permit of the request or connection that it is for
   * @param tenant whose that is: its dials and questions are its own share of them (TENANT_OVER_SHARE)
   */
  async open(
    endpoint: UpstreamEndpoint,
    permit: Permit,
    tenant: Tenant,
    origin?: Origin,
  ): Promise<ByteChannel | Failure> {
    const channel = await this.#connect(endpoint, permit, tenant, origin);
    if (isFailure(channel) && channel.code === "TENANT_OVER_SHARE") tenant.refused.connections += 1;
    const { tls, speaks } = endpoint;
    if (isFailure(channel) || tls === undefined || origin?.speaksTls === true) return channel;
    const inside = await this.#handshakes.secure(channel, tls, origin === undefined ? offered(speaks) : []);
    if (isFailure(inside) || origin !== undefined || speaks !== "http2" || inside.alpn === "h2") return inside;
    // RFC 9113 section 3.2: nobody speaks HTTP/2 inside TLS that has not agreed on it.
    const failure = fail("BACKEND_TLS_FAILURE", `${tls.policy.uid}: the application does not agree on HTTP/2 (ALPN)`);
    inside.reset(failure);
    return failure;
  }

  async #connect(
    endpoint: UpstreamEndpoint,
    permit: Permit,
    tenant: Tenant,
    origin: Origin | undefined,
  ): Promise<ByteChannel | Failure> {
    const { pool, limits, clock } = this.#options;
    const { port, reach } = endpoint;
    if (reach.kind === "name") return this.#openByName(reach, port, permit, tenant);
    if (reach.kind === "plain") {
      const { ip } = reach;
      const socket = await dialEndpoint(permit, { ip, port, timeoutMs: limits.connectTimeoutMs }, clock);
      return isFailure(socket) ? socket : socketChannel(socket);
    }
    const headers =
      origin === undefined
        ? this.#sharedHeaders
        : { ...tunnelHeaders({ ...origin, baggage: this.#baggage }), "x-istio-source": "waypoint" };
    const target = { ip: reach.ip, port: reach.port, expected: [reach.expected] };
    const request = { authority: reach.authority, headers };
    let tunnel = await pool.open(target, request, tenant);
    // It may not have heard yet that we stand before it. What else it refuses is no news.
    if (isFailure(tunnel) && tunnel.told === "WAYPOINT_REQUIRED") {
      const key = formatHostPort(reach.ip, reach.port);
      tunnel = await this.#lateNews.outlast(key, tunnel, () => pool.open(target, request, tenant));
    }
    return isFailure(tunnel) ? tunnel : streamChannel(tunnel.stream, "upstream");
  }

  /** One address after the other, within the time that one connect may take. */
  async #openByName(
    { host, isOutside }: Extract<Reach, { kind: "name" }>,
    port: number,
    permit: Permit,
    tenant: Tenant,
  ): Promise<ByteChannel | Failure> {
    const { names, limits, clock } = this.#options;
    const found = await names.addresses(host, tenant.names);
    if (isFailure(found)) return found;
    const outside = found.filter(isOutside);
    let outcome: Failure = fail("EGRESS_REFUSED", `${host} does not lie outside: ${found.join(", ")}`);
    const deadlineMs = clock.monotonic() + limits.connectTimeoutMs;
    for (const ip of outside.slice(0, MOST_ADDRESSES_TRIED)) {
      const timeoutMs = deadlineMs - clock.monotonic();
      if (timeoutMs <= 0) break;
      const socket = await dialEndpoint(permit, { ip, port, timeoutMs }, clock);
      if (!isFailure(socket)) return socketChannel(socket);
      outcome = socket;
    }
    return outcome;
  }
}

/** What ALPN offers for requests. */
function offered(speaks: UpstreamEndpoint["speaks"]): readonly string[] {
  if (speaks === "http1") return ["http/1.1"];
  return speaks === "http2" ? ["h2"] : ["h2", "http/1.1"];
}

/** `ip:port` of the proxy before an endpoint; `undefined` when it has none. */
export function tunnelAddress(endpoint: UpstreamEndpoint): string | undefined {
  const { reach } = endpoint;
  return reach.kind === "tunnel" ? formatHostPort(reach.ip, reach.port) : undefined;
}
