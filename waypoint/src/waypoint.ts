// Root. The wiring of one waypoint: its view of the mesh, its tunnel port, the way to endpoints, its drain.
import { EXIT } from "@culvert/shared/config/cli.ts";
import type { WaypointConfig } from "@culvert/shared/config/process/process-config.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { trustDomainOf } from "@culvert/shared/identity/spiffe-id.ts";
import type { Timer } from "@culvert/shared/net/clock.ts";
import { ownAddresses } from "@culvert/shared/net/own-addresses.ts";
import { processListeners } from "@culvert/shared/net/listeners.ts";
import type { AdminHandler } from "@culvert/shared/observe/admin.ts";
import type { HttpHandler } from "@culvert/shared/observe/http-endpoint.ts";
import { MirrorMetrics } from "@culvert/shared/observe/mirror-metrics.ts";
import { RequestMetrics } from "@culvert/shared/observe/request-metrics.ts";
import { registerPoolMetrics } from "@culvert/shared/observe/pool-metrics.ts";
import { registerTenantMetrics } from "@culvert/shared/observe/tenant-metrics.ts";
import { RuleMetrics } from "@culvert/shared/observe/rule-metrics.ts";
import { TcpMetrics } from "@culvert/shared/observe/tcp-metrics.ts";
import type { Foundation, Service } from "@culvert/shared/service/service.ts";
import { StartFailure } from "@culvert/shared/service/start-failure.ts";
import { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import { listenTunnels, type TunnelServer } from "@culvert/shared/tunnel/server.ts";
import { waypointAdmin } from "./admin.ts";
import type { SessionKeys } from "./filter/session-key.ts";
import { DEFAULT_HTTP_LIMITS } from "./http/limits.ts";
import { Http1Shared } from "./http1/shared-state.ts";
import { UpstreamPool } from "./http1/upstream-pool.ts";
import { Http2Shared } from "./http2/shared-state.ts";
import { Http2Pool } from "./http2/upstream-pool.ts";
import { UpstreamConnections } from "./upstream/connections.ts";
import { Acceptor } from "./inbound/accept.ts";
import { LiveTunnels } from "./inbound/live-tunnels.ts";
import { gatewayUid, type WaypointSelf } from "./mesh/destination.ts";
import { otherAccountThanOwn } from "./mesh/own-placement.ts";
import { MeshView } from "./mesh/view.ts";
import { Mirrors } from "./mirror.ts";
import { Reporter } from "./report.ts";
import { openSessionKeys } from "./session-secrets.ts";
import { Tenants } from "./tenants/tenants.ts";
import { TELEMETRY_PATH, telemetryHandler } from "./telemetry.ts";
import { OutsideNames } from "./upstream/outside-names.ts";
import { Upstream } from "./upstream/upstream.ts";

/** Starts a waypoint; it serves once this has resolved without a failure. */
export async function startWaypoint(foundation: Foundation, config: WaypointConfig): Promise<Service | StartFailure> {
  const sessionKeys = await openSessionKeys(config.sessionSecrets, gatewayUid(config.gateway));
  if (typeof sessionKeys === "string") return new StartFailure(EXIT.usage, [sessionKeys]);
  const { directory } = foundation.resources.get();
  const otherAccount = otherAccountThanOwn(directory, selfOf(config, foundation.identity.get()));
  if (otherAccount !== undefined) return new StartFailure(EXIT.identity, [otherAccount.detail]);
  const waypoint = new Waypoint(foundation, config, sessionKeys);
  const failure = await waypoint.listen();
  if (failure === undefined) return waypoint;
  await processListeners.giveBack(foundation.clock);
  await waypoint.close();
  return failure;
}

/** Which waypoint a configuration and an identity make. */
export function selfOf(config: WaypointConfig, identity: Identity): WaypointSelf {
  const { id } = identity.svid;
  const { gateway, pathNormalization, hbone, resources } = config;
  const place = { addresses: ownAddresses(hbone.host), port: hbone.port };
  const holdsScope = "address" in resources;
  const trustDomain = trustDomainOf(id);
  return { gateway, id, trustDomain, aliases: identity.aliases, place, holdsScope, pathNormalization };
}

class Waypoint implements Service {
  readonly #foundation: Foundation;
  readonly #config: WaypointConfig;
  readonly #live: LiveTunnels;
  readonly #tunnelPool: TunnelPool;
  readonly #connections: UpstreamConnections;
  readonly #acceptor: Acceptor;
  readonly #stops: (() => void)[] = [];
  #view: MeshView;
  /** Set while it goes on for an account that it will not serve: see `#isLeaving`. */
  #leaving: Timer | undefined;
  #server: TunnelServer | undefined;

  constructor(foundation: Foundation, config: WaypointConfig, sessionKeys: SessionKeys) {
    const { clock, identity, resources, log, metrics, accessLog, countFailure, tunnelLimits: limits } = foundation;
    this.#foundation = foundation;
    this.#config = config;
    // A workload takes this waypoint for `configurationWait` after it was left, and may have heard a moment earlier.
    const restMs = limits.configurationWaitMs / 2;
    this.#live = new LiveTunnels(clock, { restMs, untoldMs: config.drain.timeoutMs });
    this.#view = this.#derive(undefined);
    this.#tunnelPool = new TunnelPool({
      identity,
      compliance: foundation.compliance,
      limits,
      clock,
      onEvent: ({ kind, remote, keyGroup, failure }) => {
        if (kind === "session-opened") foundation.countHandshake("outbound", keyGroup);
        if (failure === undefined || failure.code === "DRAINING") log.debug(kind, { remote });
        else log.failure(kind, failure, { remote });
      },
    });
    registerPoolMetrics(metrics, { stats: () => this.#tunnelPool.stats() });
    const reporter = new Reporter({
      accessLog,
      requests: new RequestMetrics(metrics),
      rules: new RuleMetrics(metrics),
      tcp: new TcpMetrics(metrics),
      countFailure,
      ownId: () => this.#view.self.id,
      clock,
    });
    const http = new Http1Shared(DEFAULT_HTTP_LIMITS, clock, config.upgrades);
    const http2 = new Http2Shared(http);
    this.#connections = new UpstreamConnections(new UpstreamPool(http), new Http2Pool(http2));
    const upstream = new Upstream({
      pool: this.#tunnelPool,
      names: new OutsideNames(clock),
      gateway: config.gateway,
      limits,
      clock,
    });
    const random = Math.random;
    const connections = this.#connections;
    const mirrors = new Mirrors({ connections, upstream, clock, metrics: new MirrorMetrics(metrics), random });
    const tenants = new Tenants(config.tenants);
    registerTenantMetrics(metrics, tenants);
    this.#acceptor = new Acceptor({
      services: { view: () => this.#view, upstream, reporter, mirrors, tenants, sessionKeys, clock, random },
      opaque: { upstream, clock, halfClosedIdleMs: limits.halfClosedIdleMs, random },
      live: this.#live,
      http,
      http2,
      connections,
      clock,
      makeId: foundation.newId,
    });
    this.#stops.push(
      metrics.beforeCollect(() => reporter.progress()),
      identity.onChange(() => this.#refresh()),
      resources.onChange(() => this.#refresh()),
    );
  }

  /** Binds the tunnel port. */
  async listen(): Promise<StartFailure | undefined> {
    const { clock, log, identity, compliance, tunnelLimits, countFailure, countHandshake } = this.#foundation;
    const { host, port } = this.#config.hbone;
    const server = await listenTunnels({
      host,
      port,
      identity,
      compliance,
      limits: tunnelLimits,
      clock,
      onRequest: this.#acceptor.serve,
      onEvent: ({ kind, remote, peer, keyGroup, failure }) => {
        if (kind === "session-opened") countHandshake("inbound", keyGroup);
        // An end that we have made ourselves, in order, is no failure.
        if (failure === undefined || failure.code === "DRAINING") return log.debug(kind, { remote, peer });
        countFailure(failure);
        log.failure(kind, failure, { remote, peer });
      },
    });
    if (isFailure(server)) return new StartFailure(EXIT.port, [`hbone: ${server.detail}`]);
    this.#server = server;
    this.#warnWithoutGateway();
    if (this.#config.tracing !== undefined) {
      this.#foundation.log.warn("tracing is configured, and this release exports no traces", {
        otlp: this.#config.tracing.otlp,
      });
    }
    return undefined;
  }

  get admin(): readonly AdminHandler[] {
    return waypointAdmin({ view: () => this.#view, live: this.#live, clock: this.#foundation.clock });
  }

  get expositions(): ReadonlyMap<string, HttpHandler> {
    const { metrics, clock } = this.#foundation;
    return new Map([[TELEMETRY_PATH, telemetryHandler(metrics, clock)]]);
  }

  holds(): ReturnType<Service["holds"]> {
    const { sessions, streams } = this.#tunnelPool.stats();
    return {
      connections: { inbound: this.#live.size, outbound: this.#connections.size.total },
      sessions: { inbound: this.#server?.sessions ?? 0, outbound: sessions },
      tunnels: { inbound: this.#server?.streams ?? 0, outbound: streams },
    };
  }

  /** GOAWAY to all callers; kept-alive connections end with the request in flight, or at once. */
  drain(): void {
    this.#server?.drain();
    this.#live.drain();
  }

  stopAccepting(): void {
    this.#server?.stopAccepting();
    this.#live.drain();
  }

  /** Resolves once no tunnel is served. */
  idle(): Promise<void> {
    return this.#live.empty();
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#leaving?.cancel();
    this.#live.endAll(fail("DRAINING", "the drain timeout has passed"));
    this.#connections.drain();
    this.#server?.close();
    this.#tunnelPool.close();
  }

  #derive(before: MeshView | undefined): MeshView {
    const { identity, resources } = this.#foundation;
    const snapshot = resources.get();
    const self = selfOf(this.#config, identity.get());
    const isLeaving = before !== undefined && this.#isLeaving(before, otherAccountThanOwn(snapshot.directory, self));
    return new MeshView(snapshot, isLeaving ? { ...self, isLeaving } : self, before);
  }

  /**
   * When the Gateway becomes that of another account, callers go elsewhere as they hear of it. Until then, and no longer than a
   * drain takes, this waypoint goes on for them, under the policies of now.
   */
  #isLeaving(before: MeshView, refusal: Failure | undefined): boolean {
    const { clock, log } = this.#foundation;
    if (refusal === undefined) {
      this.#leaving?.cancel();
      this.#leaving = undefined;
      return false;
    }
    if (this.#leaving !== undefined) return true;
    if (before.self.isLeaving === true || otherAccountThanOwn(before.snapshot.directory, before.self) !== undefined) {
      return false;
    }
    log.failure("another account is served from now on: callers are sent elsewhere", refusal);
    this.#leaving = clock.after(this.#config.drain.timeoutMs, () => {
      this.#leaving = undefined;
      this.#refresh();
    });
    this.#live.drain();
    return true;
  }

  /** Takes new resources or a new identity into use, and ends what they no longer permit. */
  #refresh(): void {
    this.#view = this.#derive(this.#view);
    this.#warnWithoutGateway();
    const ended = this.#live.recheck(this.#view);
    if (ended > 0) this.#foundation.log.info("connections ended by a policy change", { ended });
  }

  #warnWithoutGateway(): void {
    const { gateway } = this.#config;
    if (this.#view.snapshot.directory.waypoint(gateway) !== undefined) return;
    this.#foundation.log.failure("nothing is served", noGateway(gatewayUid(gateway)));
  }
}

function noGateway(uid: string): Failure {
  return fail("WAYPOINT_UNAVAILABLE", `the resources hold no Gateway ${uid} that could be understood`);
}
