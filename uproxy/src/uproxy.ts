// Root. The wiring of one uproxy: what it stands on, its listeners in the order in which they may be needed, its drain.
import { EXIT } from "@culvert/shared/config/cli.ts";
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkServer } from "@culvert/shared/net/accept-bulk.ts";
import type { ListenAddress } from "@culvert/shared/net/listen-address.ts";
import { processListeners } from "@culvert/shared/net/listeners.ts";
import type { AdminHandler } from "@culvert/shared/observe/admin.ts";
import type { Foundation, Service } from "@culvert/shared/service/service.ts";
import { StartFailure } from "@culvert/shared/service/start-failure.ts";
import type { TunnelLimits } from "@culvert/shared/tunnel/limits.ts";
import { listenTunnels, type TunnelServer } from "@culvert/shared/tunnel/server.ts";
import { uproxyAdmin } from "./admin.ts";
import type { KeepSource } from "./connection/dial.ts";
import type { Dns } from "./dns/dns.ts";
import { explicitDestination, listenExplicit, listenProxy, type ExplicitEvents } from "./outbound/explicit.ts";
import { dialledApp, Inbound, type AppOptions } from "./inbound/inbound.ts";
import type { Capture } from "./outbound/transparent.ts";
import { joinSocket, Outbound } from "./outbound/outbound.ts";
import { Member } from "./member.ts";
import { leadsBack } from "./own-listeners.ts";
import { ownAddresses } from "@culvert/shared/net/own-addresses.ts";
import { selfHints } from "./self-hints.ts";

/** Starts a uproxy; it serves once this has resolved without a failure. */
export async function startUproxy(foundation: Foundation, config: UproxyConfig): Promise<Service | StartFailure> {
  const uproxy = new Uproxy(foundation, config);
  const failure = await uproxy.listen();
  if (failure === undefined) return uproxy;
  await processListeners.giveBack(foundation.clock);
  await uproxy.close();
  return failure;
}

class Uproxy implements Service {
  readonly #foundation: Foundation;
  readonly #config: UproxyConfig;
  readonly #limits: TunnelLimits;
  readonly #member: Member;
  readonly #explicit: BulkServer[] = [];
  readonly #stops: (() => void)[] = [];
  #tunnels: TunnelServer | undefined;
  #dns: Dns | undefined;

  constructor(foundation: Foundation, config: UproxyConfig) {
    this.#foundation = foundation;
    this.#config = config;
    this.#limits = foundation.tunnelLimits;
    this.#member = new Member(foundation, () => selfHints(config), config.drain.timeoutMs);
  }

  /** Binds all listeners; the first that cannot be bound is the failure. */
  async listen(): Promise<StartFailure | undefined> {
    const { clock, log, identity } = this.#foundation;
    const { inbound, outbound } = this.#config;
    const { state, connections, reporter, pool, ejections } = this.#member;
    const own = ownListeners(this.#config);
    const addresses = new Set<string>(ownAddresses(inbound.hbone?.host));
    const common = { state, connections, reporter, clock, limits: this.#limits };

    const introducedTo = new Set(inbound.proxyProtocol);
    const keepSource = await this.#openKeptSource();
    if (isFailure(keepSource)) return new StartFailure(EXIT.failed, [`inbound.keepSource: ${keepSource.detail}`]);
    const toApp: AppOptions = {
      ...common,
      app: { host: inbound.app, notTo: own },
      introduce: introducedTo.size === 0 ? undefined : (await import("./inbound/introduce.ts")).introduce,
      introducedTo,
      keepSource,
    };
    if (inbound.hbone !== undefined) {
      const server = new Inbound({ ...common, app: toApp.app, side: dialledApp(toApp) });
      const listening = await listenTunnels({
        host: inbound.hbone.host,
        port: inbound.hbone.port,
        identity,
        compliance: this.#foundation.compliance,
        limits: this.#limits,
        clock,
        onRequest: (request) => void server.serve(request),
        onEvent: this.#member.tellSession,
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
      pool,
      unknown: outbound.unknown,
      leadsBack: (host, port) => leadsBack(own, addresses, host, port),
      ejections,
      join: joinSocket(common),
      ...(capture === undefined ? {} : { loops: capture.loops }),
      ...(this.#member.demand === undefined ? {} : { demand: this.#member.demand }),
    });
    this.#member.keepAsked(outbound.listeners.map(explicitDestination));
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
      const unasked = authorityHosts(this.#config);
      const listening = await startDns({ foundation: this.#foundation, dns, outbound, state, unasked });
      if (isFailure(listening)) return notBound("dns", listening);
      this.#dns = listening;
    }
    await this.#startPrewarming();
    if (this.#limits.connectionIdleMs > 0 || this.#limits.maxConnectionAgeMs > 0) {
      const { watchExpiry } = await import("./connection/expiry.ts");
      this.#stops.push(watchExpiry(connections, this.#limits, clock));
    }
    const { workload } = state();
    if (isFailure(workload)) log.failure("own workload not found", workload);
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

  async #listenPlaintext(listen: ListenAddress, toApp: AppOptions): Promise<StartFailure | undefined> {
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
    const { state, connections, ejections, demand } = this.#member;
    return uproxyAdmin({
      state,
      connections,
      unknown: this.#config.outbound.unknown,
      ejections,
      clock: this.#foundation.clock,
      demand,
    });
  }

  holds(): ReturnType<Service["holds"]> {
    const { connections, pool } = this.#member;
    const { sessions, streams } = pool.stats();
    return {
      connections: connections.counts(),
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
    return this.#member.connections.empty();
  }

  async close(): Promise<void> {
    const { connections, pool } = this.#member;
    this.#member.stop();
    for (const stop of this.#stops) stop();
    connections.endAll(fail("DRAINING", "the drain timeout has passed"));
    await Promise.all(this.#explicit.map((server) => server.close()));
    await this.#dns?.close();
    this.#tunnels?.close();
    pool.close();
  }

  /** Opens sessions ahead, now and after each change, where a listener asks for it; else nothing of it is loaded. */
  async #startPrewarming(): Promise<void> {
    const { listeners } = this.#config.outbound;
    if (!listeners.some(({ prewarm }) => prewarm)) return;
    const { prewarmTargets } = await import("./outbound/prewarm.ts");
    const { state, pool } = this.#member;
    const prewarm = (): void => pool.keepWarm(prewarmTargets(state(), listeners));
    this.#member.onRefresh(prewarm);
    prewarm();
  }

  #tell(message: string, failure: Failure, remote?: string): void {
    this.#foundation.countFailure(failure);
    this.#foundation.log.failure(message, failure, remote === undefined ? {} : { remote });
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

/** Names by which this process finds its authorities: asking them for these would be to wait for itself. */
function authorityHosts({ identity, resources }: UproxyConfig): ReadonlySet<string> {
  const remote = [identity, resources].flatMap((source) => ("address" in source ? [source.address.host] : []));
  return new Set(remote.map((host) => host.toLowerCase()));
}

function notBound(key: string, failure: Failure): StartFailure {
  return new StartFailure(EXIT.port, [`${key}: ${failure.detail}`]);
}
