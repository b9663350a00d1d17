// Root. The wiring of one waypoint: what it sees of the mesh, its way to endpoints, its tunnel port, its drain.
import { EXIT } from "@culvert/shared/config/cli.ts";
import type { WaypointConfig } from "@culvert/shared/config/process-config.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import { formatHostPort } from "@culvert/shared/net/ip.ts";
import type { AdminHandler } from "@culvert/shared/observe/admin.ts";
import type { HttpHandler } from "@culvert/shared/observe/http-endpoint.ts";
import { RequestMetrics } from "@culvert/shared/observe/request-metrics.ts";
import { TcpMetrics } from "@culvert/shared/observe/tcp-metrics.ts";
import type { Foundation, Service } from "@culvert/shared/service/service.ts";
import { StartFailure } from "@culvert/shared/service/start-failure.ts";
import { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import { listenTunnels, type TunnelServer } from "@culvert/shared/tunnel/server.ts";
import { waypointAdmin } from "./admin.ts";
import { DEFAULT_HTTP1_LIMITS } from "./http1/limits.ts";
import { Http1Shared } from "./http1/shared-state.ts";
import { UpstreamPool } from "./http1/upstream-pool.ts";
import { Acceptor } from "./inbound/accept.ts";
import { LiveTunnels } from "./inbound/live-tunnels.ts";
import { gatewayUid, type WaypointSelf } from "./mesh/destination.ts";
import { MeshView } from "./mesh/view.ts";
import { Reporter } from "./report.ts";
import { TELEMETRY_PATH, telemetryHandler } from "./telemetry.ts";
import { Upstream } from "./upstream/upstream.ts";

/** Starts a waypoint; it serves once this has resolved without a failure. */
export async function startWaypoint(foundation: Foundation, config: WaypointConfig): Promise<Service | StartFailure> {
  const waypoint = new Waypoint(foundation, config);
  const failure = await waypoint.listen();
  if (failure === undefined) return waypoint;
  await waypoint.close();
  return failure;
}

/** Which waypoint a process is, by its configuration and its certificate. */
export function waypointSelf(config: WaypointConfig, identity: Identity): WaypointSelf {
  const { id } = identity.svid;
  return { gateway: config.gateway, id, trustDomain: trustDomainOf(id) };
}

class Waypoint implements Service {
  readonly expositions: ReadonlyMap<string, HttpHandler>;
  readonly #foundation: Foundation;
  readonly #config: WaypointConfig;
  readonly #tunnels: TunnelPool;
  readonly #upstreams: UpstreamPool;
  readonly #live: LiveTunnels;
  readonly #acceptor: Acceptor;
  readonly #stops: (() => void)[] = [];
  #view: MeshView;
  #server: TunnelServer | undefined;

  constructor(foundation: Foundation, config: WaypointConfig) {
    const { clock, identity, resources, tunnelLimits: limits, log, metrics, accessLog, countFailure } = foundation;
    this.#foundation = foundation;
    this.#config = config;
    this.#view = new MeshView(resources.get(), waypointSelf(config, identity.get()));
    this.#live = new LiveTunnels(clock);
    this.#tunnels = new TunnelPool({
      identity,
      limits,
      clock,
      onEvent: ({ kind, remote, failure }) => {
        if (failure === undefined) log.debug(kind, { remote });
        else log.failure(kind, failure, { remote });
      },
    });
    const http = new Http1Shared(DEFAULT_HTTP1_LIMITS, clock);
    this.#upstreams = new UpstreamPool(http);
    const upstream = new Upstream({ pool: this.#tunnels, gateway: config.gateway, limits, clock });
    const reporter = new Reporter({
      accessLog,
      requests: new RequestMetrics(metrics),
      tcp: new TcpMetrics(metrics),
      countFailure,
      ownId: identity.get().svid.id,
      clock,
    });
    const random = Math.random;
    this.#acceptor = new Acceptor({
      services: { view: () => this.#view, upstream, reporter, random },
      opaque: { upstream, clock, halfClosedIdleMs: limits.halfClosedIdleMs, random },
      live: this.#live,
      http,
      pool: this.#upstreams,
      clock,
      makeId: foundation.newId,
    });
    this.expositions = new Map([[TELEMETRY_PATH, telemetryHandler(metrics, clock)]]);
    this.#stops.push(
      resources.onChange((snapshot) => this.#refresh(snapshot, identity.get())),
      identity.onChange((changed) => this.#refresh(resources.get(), changed)),
      metrics.beforeCollect(() => this.#live.progress()),
    );
  }

  /** Binds the tunnel port. */
  async listen(): Promise<StartFailure | undefined> {
    const { identity, tunnelLimits: limits, clock, log, countFailure } = this.#foundation;
    const { host, port } = this.#config.hbone;
    const listening = await listenTunnels({
      host,
      port,
      identity,
      limits,
      clock,
      onRequest: this.#acceptor.serve,
      onEvent: ({ kind, remote, peer, failure }) => {
        if (failure === undefined) return log.debug(kind, { remote, peer });
        countFailure(failure);
        log.failure(kind, failure, { remote, peer });
      },
    });
    if (isFailure(listening)) {
      const where = formatHostPort(host === "" ? "*" : host, port);
      return new StartFailure(EXIT.port, [`hbone: cannot listen on ${where}: ${listening.detail}`]);
    }
    this.#server = listening;
    this.#warnUnknownGateway();
    return undefined;
  }

  get admin(): readonly AdminHandler[] {
    return waypointAdmin({ view: () => this.#view, live: this.#live, clock: this.#foundation.clock });
  }

  holds(): ReturnType<Service["holds"]> {
    const { sessions, streams } = this.#tunnels.stats();
    return {
      connections: { inbound: this.#live.size, outbound: this.#upstreams.size.total },
      sessions: { inbound: this.#server?.sessions ?? 0, outbound: sessions },
      tunnels: { inbound: this.#server?.streams ?? 0, outbound: streams },
    };
  }

  /** GOAWAY to all callers; connections end with the request that is in flight. */
  drain(): void {
    this.#server?.drain();
    this.#live.drain();
  }

  /** Resolves once no tunnel is served any more. */
  idle(): Promise<void> {
    return this.#live.empty();
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#live.close(fail("DRAINING", "the drain timeout has passed"));
    this.#upstreams.drain();
    await this.#server?.close();
    this.#tunnels.close();
  }

  /** Takes new resources or a new identity into use: requests from now on, and what runs is asked whether it may go on. */
  #refresh(snapshot: Snapshot, identity: Identity): void {
    this.#view = new MeshView(snapshot, waypointSelf(this.#config, identity), this.#view);
    this.#live.recheck(this.#view);
    this.#warnUnknownGateway();
  }

  #warnUnknownGateway(): void {
    const { gateway } = this.#config;
    if (this.#view.snapshot.directory.waypoint(gateway) !== undefined) return;
    this.#foundation.log.warn("own Gateway is not in the resources, so nothing is served", {
      gateway: gatewayUid(gateway),
    });
  }
}
