// Root. The wiring of one uproxy: what it stands on, its listeners in the order in which they may be needed, its drain.
import { networkInterfaces } from "node:os";
import { EXIT } from "@culvert/shared/config/cli.ts";
import type { UproxyConfig } from "@culvert/shared/config/process-config.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkServer } from "@culvert/shared/net/accept-bulk.ts";
import { parseIp, type Ip } from "@culvert/shared/net/ip.ts";
import type { ListenAddress } from "@culvert/shared/net/listen-address.ts";
import { processListeners } from "@culvert/shared/net/listeners.ts";
import type { AdminHandler } from "@culvert/shared/observe/admin.ts";
import { registerPoolMetrics } from "@culvert/shared/observe/pool-metrics.ts";
import { TcpMetrics } from "@culvert/shared/observe/tcp-metrics.ts";
import type { ConnectionFacts } from "@culvert/shared/policy/authorization.ts";
import type { Foundation, Service } from "@culvert/shared/service/service.ts";
import { StartFailure } from "@culvert/shared/service/start-failure.ts";
import type { TunnelLimits } from "@culvert/shared/tunnel/limits.ts";
import { TunnelPool } from "@culvert/shared/tunnel/pool.ts";
import { listenTunnels, type TunnelServer } from "@culvert/shared/tunnel/server.ts";
import { uproxyAdmin } from "./admin.ts";
import type { KeepSource } from "./connection/dial.ts";
import { Connections } from "./connection/connections.ts";
import type { Dns } from "./dns/dns.ts";
import { Ejections, keyOf } from "./outbound/ejections.ts";
import { listenExplicit, listenProxy, type ExplicitEvents } from "./outbound/explicit.ts";
import { Inbound, type InboundOptions } from "./inbound/inbound.ts";
import type { Capture } from "./outbound/transparent.ts";
import { Outbound } from "./outbound/outbound.ts";
import { Reporter } from "./connection/report.ts";
import { leadsBack } from "./own-listeners.ts";
import type { SelfHints } from "./self.ts";
import { deriveState, judge, type UproxyState } from "./state.ts";

/** Starts a uproxy; it serves once this has resolved without a failure. */
export async function startUproxy(foundation: Foundation, config: UproxyConfig): Promise<Service | StartFailure> {
  const uproxy = new Uproxy(foundation, config);
  const failure = await uproxy.listen();
  if (failure === undefined) return uproxy;
  await processListeners.giveBack(foundation.clock);
  await uproxy.close();
  return failure;
}

/** Endpoints that one line of the log names. */
const MAX_NAMED = 8;

class Uproxy implements Service {
  readonly #foundation: Foundation;
  readonly #config: UproxyConfig;
  readonly #limits: TunnelLimits;
  readonly #connections: Connections;
  readonly #pool: TunnelPool;
  readonly #ejections: Ejections;
  readonly #reporter: Reporter;
  readonly #explicit: BulkServer[] = [];
  readonly #stops: (() => void)[] = [];
  #state: UproxyState;
  #prewarm: () => void = () => undefined;
  #tunnels: TunnelServer | undefined;
  #dns: Dns | undefined;

  constructor(foundation: Foundation, config: UproxyConfig) {
    const { clock, identity, resources, log } = foundation;
    this.#foundation = foundation;
    this.#config = config;
    this.#limits = foundation.tunnelLimits;
    this.#connections = new Connections(foundation.newId);
    this.#state = this.#derive();
    this.#pool = new TunnelPool({
      identity,
      compliance: foundation.compliance,
      limits: this.#limits,
      clock,
      onEvent: ({ kind, remote, keyGroup, failure }) => {
        if (kind === "session-opened") foundation.countHandshake("outbound", keyGroup);
        if (failure === undefined || failure.code === "DRAINING") log.debug(kind, { remote });
        else log.failure(kind, failure, { remote });
      },
    });
    this.#ejections = new Ejections(this.#limits, clock, {
      onEjected: (endpoint, failure, forMs) => {
        log.failure("endpoint left out", failure, { endpoint: keyOf(endpoint), for_ms: Math.round(forMs) });
      },
      onReadmitted: (endpoint) => log.info("endpoint readmitted", { endpoint: keyOf(endpoint) }),
      onLastResort: (endpoints) => {
        const none = fail("NO_HEALTHY_UPSTREAM", "all endpoints fail, so all of them are used");
        log.failure("last resort", none, { endpoints: endpoints.map(keyOf).slice(0, MAX_NAMED).join(", ") });
      },
    });
    registerPoolMetrics(foundation.metrics, { stats: () => this.#pool.stats(), ejections: () => this.#ejections });
    const metrics = new TcpMetrics(foundation.metrics);
    this.#reporter = new Reporter({
      accessLog: foundation.accessLog,
      metrics,
      clock,
      countFailure: foundation.countFailure,
    });
    this.#stops.push(
      foundation.metrics.beforeCollect(() => this.#reporter.progress()),
      identity.onChange(() => this.#refresh()),
      resources.onChange(() => this.#refresh()),
    );
  }

  /** Binds all listeners; the first that cannot be bound is the failure. */
  async listen(): Promise<StartFailure | undefined> {
    const { clock, log, identity } = this.#foundation;
    const { inbound, outbound } = this.#config;
    const state = (): UproxyState => this.#state;
    const own = ownListeners(this.#config);
    const addresses = new Set<string>(ownAddresses(inbound.hbone));
    const common = { state, connections: this.#connections, reporter: this.#reporter, clock, limits: this.#limits };

    const introducedTo = new Set(inbound.proxyProtocol);
    const keepSource = await this.#openKeptSource();
    if (isFailure(keepSource)) return new StartFailure(EXIT.failed, [`inbound.keepSource: ${keepSource.detail}`]);
    const toApp: InboundOptions = {
      ...common,
      app: { host: inbound.app, notTo: own },
      introduce: introducedTo.size === 0 ? undefined : (await import("./inbound/introduce.ts")).introduce,
      introducedTo,
      keepSource,
    };
    if (inbound.hbone !== undefined) {
      const server = new Inbound(toApp);
      const listening = await listenTunnels({
        host: inbound.hbone.host,
        port: inbound.hbone.port,
        identity,
        compliance: this.#foundation.compliance,
        limits: this.#limits,
        clock,
        onRequest: (request) => void server.serve(request),
        onEvent: ({ kind, remote, peer, keyGroup, failure }) => {
          if (kind === "session-opened") this.#foundation.countHandshake("inbound", keyGroup);
          // An end that we have made ourselves, in order, is no failure.
          if (failure === undefined || failure.code === "DRAINING") return log.debug(kind, { remote, peer });
          this.#foundation.countFailure(failure);
          log.failure(kind, failure, { remote, peer });
        },
      });
      if (isFailure(listening)) return notBound("inbound.hbone", listening);
      this.#tunnels = listening;
    }
    if (inbound.plaintext !== undefined) {
      const failure = await this.#listenPlaintext(inbound.plaintext, toApp);
      if (failure !== undefined) return failure;
    }

    const capture = await this.#openCapture();
    if (isFailure(capture)) return new StartFailure(EXIT.failed, [capture.detail]);
    const carrier = new Outbound({
      ...common,
      pool: this.#pool,
      unknown: outbound.unknown,
      leadsBack: (host, port) => leadsBack(own, addresses, host, port),
      ejections: this.#ejections,
      ...(capture === undefined ? {} : { loops: capture.loops }),
    });
    const events: ExplicitEvents = {
      onRefused: (client, failure) => this.#tell("client refused", failure, client.source),
      onAcceptError: (failure) => this.#tell("connection not accepted", failure),
    };
    for (const [index, listener] of outbound.listeners.entries()) {
      const listening = await listenExplicit(listener, carrier, clock, events);
      if (isFailure(listening)) return notBound(`outbound.listeners[${index}]`, listening);
      this.#explicit.push(listening);
    }
    if (outbound.proxy !== undefined) {
      const listening = await listenProxy(outbound.proxy, carrier, clock, events);
      if (isFailure(listening)) return notBound("outbound.proxy", listening);
      this.#explicit.push(listening);
    }
    if (outbound.transparent !== undefined && capture !== undefined) {
      const listening = await capture.listen(outbound.transparent, carrier, events);
      if (isFailure(listening)) return notBound("outbound.transparent", listening);
      this.#explicit.push(listening);
    }
    if (this.#config.dns !== undefined) {
      const { startDns } = await import("./dns/dns.ts");
      const { dns } = this.#config;
      const listening = await startDns({ foundation: this.#foundation, dns, outbound, state });
      if (isFailure(listening)) return notBound("dns", listening);
      this.#dns = listening;
    }
    await this.#startPrewarming();
    if (this.#limits.connectionIdleMs > 0 || this.#limits.maxConnectionAgeMs > 0) {
      const { watchExpiry } = await import("./connection/expiry.ts");
      this.#stops.push(watchExpiry(this.#connections, this.#limits, clock));
    }
    if (isFailure(this.#state.workload)) log.failure("own workload not found", this.#state.workload);
    return undefined;
  }

  /** Also where questions for DNS alone are captured, if the rules tell ours by a mark. */
  async #openCapture(): Promise<Capture | undefined | Failure> {
    const { capture, dns, outbound } = this.#config;
    const marksDns = dns !== undefined && capture.exempt.kind === "mark";
    if (outbound.transparent === undefined && !marksDns) return undefined;
    const { openCapture } = await import("./outbound/transparent.ts");
    const opened = await openCapture(capture);
    if (!isFailure(opened)) return opened;
    return fail(
      opened.code,
      `${outbound.transparent === undefined ? "dns" : "outbound.transparent"}: ${opened.detail}`,
    );
  }

  async #openKeptSource(): Promise<KeepSource | undefined | Failure> {
    if (!this.#config.inbound.keepSource) return undefined;
    const { loadKeepSource } = await import("./connection/keep-source.ts");
    const { exempt } = this.#config.capture;
    return loadKeepSource(exempt.kind === "mark" ? exempt.id : undefined);
  }

  async #listenPlaintext(listen: ListenAddress, toApp: InboundOptions): Promise<StartFailure | undefined> {
    const options = await (await import("@culvert/shared/net/socket-options.ts")).loadSocketOptions();
    if (isFailure(options)) return new StartFailure(EXIT.failed, [`inbound.plaintext: ${options.detail}`]);
    const { listenPlaintext } = await import("./inbound/plaintext.ts");
    const listening = await listenPlaintext({
      ...toApp,
      listen,
      originalDestination: (client) => options.originalDestination(client),
      onAcceptError: (failure) => this.#tell("connection not accepted", failure),
    });
    if (isFailure(listening)) return notBound("inbound.plaintext", listening);
    this.#explicit.push(listening);
    return undefined;
  }

  get admin(): readonly AdminHandler[] {
    return uproxyAdmin({
      state: () => this.#state,
      connections: this.#connections,
      unknown: this.#config.outbound.unknown,
      ejections: this.#ejections,
      clock: this.#foundation.clock,
    });
  }

  holds(): ReturnType<Service["holds"]> {
    const { sessions, streams } = this.#pool.stats();
    return {
      connections: this.#connections.counts(),
      sessions: { inbound: this.#tunnels?.sessions ?? 0, outbound: sessions },
      tunnels: { inbound: this.#tunnels?.streams ?? 0, outbound: streams },
    };
  }

  /** GOAWAY to all callers. */
  drain(): void {
    this.#tunnels?.drain();
  }

  /** Neither callers nor the app come to us any more; the tunnels that the app has go on. */
  stopAccepting(): void {
    this.#tunnels?.stopAccepting();
    for (const server of this.#explicit) void server.close();
    this.#dns?.stopAccepting();
  }

  /** Resolves once nothing is being carried. */
  idle(): Promise<void> {
    return this.#connections.empty();
  }

  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#connections.endAll(fail("DRAINING", "the drain timeout has passed"));
    await Promise.all(this.#explicit.map((server) => server.close()));
    await this.#dns?.close();
    await this.#tunnels?.close();
    this.#pool.close();
  }

  /** Opens sessions ahead, now and after each change, where a listener asks for it; else nothing of it is loaded. */
  async #startPrewarming(): Promise<void> {
    const { listeners } = this.#config.outbound;
    if (!listeners.some(({ prewarm }) => prewarm)) return;
    const { prewarmTargets } = await import("./outbound/prewarm.ts");
    this.#prewarm = () => this.#pool.keepWarm(prewarmTargets(this.#state, listeners));
    this.#prewarm();
  }

  #tell(message: string, failure: Failure, remote?: string): void {
    this.#foundation.countFailure(failure);
    this.#foundation.log.failure(message, failure, remote === undefined ? {} : { remote });
  }

  #derive(): UproxyState {
    const { identity, resources } = this.#foundation;
    return deriveState(resources.get(), identity.get(), selfHints(this.#config));
  }

  /** Takes new resources or a new identity into use, and ends the connections that they no longer permit. */
  #refresh(): void {
    const before = this.#state.workload;
    this.#state = this.#derive();
    this.#reporter.forgetSeries();
    this.#prewarm();
    const { workload } = this.#state;
    if (isFailure(workload) && !isFailure(before)) this.#foundation.log.failure("own workload not found", workload);
    const ended = this.#connections.recheck((facts) => this.#revoked(facts));
    if (ended > 0) this.#foundation.log.info("connections ended by a policy change", { ended });
  }

  #revoked(facts: ConnectionFacts): Failure | undefined {
    const verdict = judge(this.#state, facts);
    if (verdict.allowed) return undefined;
    if (verdict.failure.code === "MTLS_REQUIRED") return verdict.failure;
    return fail("POLICY_CHANGED", [verdict.policy, verdict.rule, verdict.failure.code].filter(Boolean).join(" "));
  }
}

/** Everything that this proxy listens on: no tunnel may lead back to it. */
function ownListeners(config: UproxyConfig): readonly ListenAddress[] {
  const { inbound, outbound, dns, admin, readiness, metrics } = config;
  const { hbone, plaintext } = inbound;
  const { proxy, transparent } = outbound;
  const ports = [hbone, plaintext, proxy, transparent, dns?.listen, admin, readiness, metrics];
  return [...ports, ...outbound.listeners.map(({ listen }) => listen)].filter((address) => address?.kind === "tcp");
}

/** What the configuration and this host say of which workload we stand beside. */
export function selfHints(config: UproxyConfig): Omit<SelfHints, "id"> {
  return { configured: config.workload, addresses: ownAddresses(config.inbound.hbone) };
}

/** Addresses of this host, the one that the tunnel listener is bound to first. */
function ownAddresses(hbone: ListenAddress | undefined): readonly Ip[] {
  const bound = parseIp(hbone?.host ?? "");
  const found = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  return [bound, ...found.map(({ address }) => parseIp(address.split("%")[0] ?? ""))].filter((ip) => ip !== undefined);
}

function notBound(key: string, failure: Failure): StartFailure {
  return new StartFailure(EXIT.port, [`${key}: ${failure.detail}`]);
}
