// Machine. What the HTTP requests of one tunnel have in common: who calls, what a view means for them, the metrics they count in.
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { RequestSeries } from "@culvert/shared/observe/request-metrics.ts";
import { canonicalHost, type CanonicalHost } from "../canonical/host.ts";
import type { ConnectionServices, ExchangeServices } from "../exchange-services.ts";
import { HopHeaders } from "../hop-headers.ts";
import type { SessionKeys } from "../filter/session-key.ts";
import { gatewayToken } from "../mesh/destination.ts";
import type { MeshView } from "../mesh/view.ts";
import type { Mirrors } from "../mirror.ts";
import type { Reporter } from "../report.ts";
import type { UpstreamEndpoint } from "../upstream/endpoints.ts";
import type { Tenant, Tenants } from "../tenants/tenants.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { RequestPlan } from "./request-plan.ts";
import { RequestServices } from "./request-services.ts";
import type { LiveTunnel } from "./live-tunnels.ts";
import { tenantOf, type Tunnel } from "./tunnel.ts";

/** What the requests of a tunnel are served with; the same for all tunnels. */
export interface RequestServicesOptions {
  readonly view: () => MeshView;
  readonly upstream: Upstream;
  readonly reporter: Reporter;
  readonly mirrors: Mirrors;
  readonly tenants: Tenants;
  readonly sessionKeys: SessionKeys;
  readonly clock: Clock;
  /** At least 0, less than 1. */
  readonly random: () => number;
}

/** Series kept for one tunnel; beyond it they are looked up anew. */
const MOST_SERIES = 64;

/** The services behind one tunnel. */
export class TunnelServices implements ConnectionServices {
  readonly hop: HopHeaders;
  readonly tunnel: Tunnel;
  readonly options: RequestServicesOptions;
  readonly #live: LiveTunnel;
  readonly #onClosed: () => void;
  readonly #series = new Map<UpstreamEndpoint | undefined, RequestSeries>();
  readonly #grpcSeries = new Map<UpstreamEndpoint | undefined, RequestSeries>();
  readonly #inFlight = new Set<RequestServices>();
  #plan: RequestPlan;
  #tenant: Tenant;
  #host: CanonicalHost | Failure | undefined;
  #rawHost = "";

  constructor(live: LiveTunnel, options: RequestServicesOptions, onClosed: () => void) {
    const { tunnel } = live;
    this.tunnel = tunnel;
    this.#live = live;
    this.options = options;
    this.#onClosed = onClosed;
    const view = options.view();
    this.#plan = new RequestPlan(view, live);
    this.#tenant = tenantOf(options.tenants, tunnel, view.self);
    this.hop = new HopHeaders({
      id: tunnel.request.peer.id,
      address: tunnel.request.source.ip,
      ownId: view.self.id,
      viaToken: `${gatewayToken(view.self.gateway)}/${this.#plan.destinationToken}`,
    });
  }

  requests(): ExchangeServices {
    return new RequestServices(this);
  }

  closed(): void {
    this.#onClosed();
  }

  /** Whose requests come by the tunnel. */
  get tenant(): Tenant {
    if (!this.#tenant.isKept) this.#tenant = this.options.tenants.again(this.#tenant);
    return this.#tenant;
  }

  /** A request begins: the plan that all about it is asked from. */
  begin(request: RequestServices): RequestPlan {
    this.#inFlight.add(request);
    const view = this.options.view();
    if (view !== this.#plan.asked) {
      this.#plan = new RequestPlan(view, this.#live);
      this.#series.clear();
      this.#grpcSeries.clear();
    }
    return this.#plan;
  }

  /** A request is over. */
  end(request: RequestServices): void {
    this.#inFlight.delete(request);
  }

  /** Why a request in flight may not go on under `view`; `undefined` when all may. */
  recheck(view: MeshView): Failure | undefined {
    const plan = new RequestPlan(view, this.#live);
    for (const request of this.#inFlight) {
      const failure = request.recheck(plan);
      if (failure !== undefined) return failure;
    }
    return undefined;
  }

  /** Tells of each request why it may not go on under `view`; `undefined` when it may, or is not in flight. */
  judge(view: MeshView): (request: ExchangeServices) => Failure | undefined {
    const plan = new RequestPlan(view, this.#live);
    return (request) => (request instanceof RequestServices ? request.recheck(plan) : undefined);
  }

  /** The canonical form of a host; most clients name the same one again and again. */
  canonicalHost(raw: string): CanonicalHost | Failure {
    if (this.#host === undefined || raw !== this.#rawHost) {
      this.#host = canonicalHost(raw);
      this.#rawHost = raw;
    }
    return this.#host;
  }

  /** The metrics of requests, or of gRPC calls, to an endpoint. */
  seriesOf({ view, destination }: RequestPlan, endpoint: UpstreamEndpoint | undefined, isGrpc: boolean): RequestSeries {
    const all = isGrpc ? this.#grpcSeries : this.#series;
    let series = all.get(endpoint);
    if (series === undefined) {
      const known = isFailure(destination) ? undefined : destination;
      const { reporter } = this.options;
      series = reporter.requestSeries(view, this.tunnel, known, endpoint, isGrpc ? "grpc" : "http");
      if (all.size >= MOST_SERIES) all.clear();
      all.set(endpoint, series);
    }
    return series;
  }
}
