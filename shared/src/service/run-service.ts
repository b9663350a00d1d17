// Root. What both programs do around their service: log and metrics, identity and resources, the ports for readiness,
// metrics and admin, signals, and an end in order.
import { setDefaultCACertificates } from "node:tls";
import { EXIT, type ExitCode } from "../config/cli.ts";
import type { CommonConfig } from "../config/process/process-config.ts";
import type { ResourceSource } from "../config/resource-source.ts";
import type { ResourcesOptions } from "../config/resources-in-use.ts";
import type { Routing } from "../config/routing/routing.ts";
import type { Asker } from "../config/stream/stream-options.ts";
import { buildVersion } from "../config/version.ts";
import { fail, isFailure, type Failure } from "../failure/failure.ts";
import type { ReloadableSource } from "../identity/source.ts";
import { systemClock, type Clock } from "../net/clock.ts";
import { processDescriptors } from "../net/descriptors.ts";
import type { ListenAddress, UnixAddress } from "../net/listen-address.ts";
import { processListeners } from "../net/listeners.ts";
import { processMemoryCap } from "../net/memory-cap.ts";
import { processMemory } from "../net/memory.ts";
import { AccessLog } from "../observe/access-log.ts";
import { certificatesHandler, lifecycleHandlers, loggingHandlers } from "../observe/admin-handlers.ts";
import { serveAdmin, type AdminHandler } from "../observe/admin.ts";
import type { HttpEndpoint, HttpListen } from "../observe/http-endpoint.ts";
import { connectionIds } from "../observe/ids.ts";
import { LineWriter } from "../observe/line-writer.ts";
import { Log } from "../observe/log.ts";
import { serveMetrics } from "../observe/metrics-server.ts";
import { Metrics } from "../observe/metrics.ts";
import { ProxyMetrics } from "../observe/proxy-metrics.ts";
import { Readiness, serveReadiness } from "../observe/readiness.ts";
import { stdoutWriter } from "../observe/stdout.ts";
import type { Foundation, Service, StartService } from "./service.ts";
import { IdentityReport } from "./identity-report.ts";
import { firstIdentity } from "./open-identity.ts";
import { firstResources } from "./open-resources.ts";
import { ResourcesReport } from "./resources-report.ts";
import { configDumpHandler, restoredText } from "./source-text.ts";
import { StartFailure } from "./start-failure.ts";
import { askToEnd } from "./take-over.ts";

/** How long the last lines of the log may take to leave the process, in milliseconds. */
const FLUSH_MS = 1_000;

/** What is run. */
export interface ServiceToRun {
  readonly component: "uproxy" | "waypoint";
  readonly config: CommonConfig;
  readonly start: StartService;
  /** Called once, when everything is there and whoever was taken over from is ending. */
  readonly whenReady: () => Promise<void>;
  /** Who asks an authority for resources, where they come from one. */
  readonly asker: () => Asker;
  /** Reads routes, where the service follows any. */
  readonly routing?: Routing;
  /** What the service holds of a folder, where that is not all of it. */
  readonly narrow?: ResourcesOptions["narrow"];
}

/**
 * Runs a service until a signal or the admin port ends it.
 *
 * @returns the exit code, or why it could not start
 */
export async function runService(service: ServiceToRun): Promise<ExitCode | StartFailure> {
  const runner = new Runner(service);
  const failure = await runner.start();
  if (failure === undefined) return runner.untilEnded();
  await processListeners.giveBack(systemClock);
  await runner.end();
  return failure;
}

class Runner {
  readonly #toRun: ServiceToRun;
  readonly #config: CommonConfig;
  readonly #clock: Clock = systemClock;
  readonly #writer: LineWriter;
  readonly #log: Log;
  readonly #accessLog: AccessLog;
  readonly #metrics: Metrics;
  readonly #readiness = new Readiness(["identity", "resources", "listeners"], () =>
    processDescriptors.lasting
      ? `out of descriptors: all of ${processDescriptors.limit} have been in use for long`
      : undefined,
  );
  readonly #proxyMetrics: ProxyMetrics;
  readonly #identityReport: IdentityReport;
  readonly #resourcesReport: ResourcesReport;
  readonly #endpoints: HttpEndpoint[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #identity: ReloadableSource | undefined;
  #resources: ResourceSource | undefined;
  #service: Service | undefined;
  #drainingSince: number | undefined;
  /** Settles once the ports are closed. */
  #settled: Promise<void> = Promise.resolve();

  constructor(toRun: ServiceToRun) {
    const { config } = toRun;
    this.#toRun = toRun;
    this.#config = config;
    this.#writer = new LineWriter(stdoutWriter(), this.#clock);
    const write = this.#writer.line;
    this.#log = new Log({ level: config.log.level, write, clock: this.#clock });
    this.#accessLog = new AccessLog({ mode: config.log.access, write, clock: this.#clock });
    this.#metrics = new Metrics({ clock: this.#clock });
    this.#proxyMetrics = this.#registerMetrics();
    const reporting = {
      log: this.#log,
      clock: this.#clock,
      countFailure: (failure: Failure) => this.#proxyMetrics.failure(failure.code),
    };
    this.#identityReport = new IdentityReport({ ...reporting, identity: () => this.#identity?.get() });
    this.#resourcesReport = new ResourcesReport(reporting);
  }

  /** Starts all parts in the order in which they need each other. */
  async start(): Promise<StartFailure | undefined> {
    const { identity } = this.#config;
    this.#guardProcess();
    processMemoryCap.bound(this.#config.limits.memory);
    // Whom we trust is told by the identity's bundles alone. The public roots that Node carries would be read to make our
    // first TLS context and kept: 1.6 MiB (with `--use-openssl-ca` no thread reads them before this line).
    setDefaultCACertificates([]);
    // Beside a process that is ready nobody is told that we are not yet.
    const probes = processListeners.beside ? undefined : await this.#serveReadiness();
    if (probes !== undefined) return probes;

    // Before the first wait that may be long: process 1 of a container has no other way to end.
    this.#takeSignals();
    const own = await firstIdentity({
      config: identity,
      clock: this.#clock,
      onEvent: (event) => this.#identityReport.take(event),
      onWaiting: (reason) => this.#readiness.set("identity", false, reason),
      ended: this.#ended.promise,
    });
    if (own === undefined) return undefined;
    if (isFailure(own)) return new StartFailure(EXIT.identity, [`identity: ${own.toString()}`]);
    this.#identity = own;
    this.#readiness.set("identity", true);

    const resources = await this.#openResources(own);
    if (resources === undefined || resources instanceof StartFailure) return resources;
    this.#resources = resources;
    this.#readiness.annotate(() => restoredText(resources, this.#clock.now()));
    this.#readiness.set("resources", true);

    const service = await this.#toRun.start(this.#foundation(own, resources));
    if (service instanceof StartFailure) return service;
    this.#service = service;
    const failure = await this.#serveMetrics(service);
    if (failure !== undefined) return failure;
    this.#readiness.set("listeners", true);
    // Our admin port comes last: until it is there, who asks reaches the process that is to be taken over from.
    const last =
      (processListeners.beside ? ((await this.#serveReadiness()) ?? (await this.#takeOver())) : undefined) ??
      (await this.#serveAdmin(service, own, resources));
    if (last !== undefined) return last;
    processMemory.worked();
    this.#log.info("ready", { identity: own.get().svid.id, version: buildVersion().version });
    // At once: whoever waits for this line would wait for the batch too, which is as long as all of the start.
    void this.#writer.flush(FLUSH_MS);
    await this.#toRun.whenReady();
    return undefined;
  }

  #openResources(identity: ReloadableSource): Promise<ResourceSource | StartFailure | undefined> {
    const { resources, limits } = this.#config;
    const { routing, narrow, asker } = this.#toRun;
    const report = this.#resourcesReport;
    return firstResources({
      config: resources,
      metrics: this.#metrics,
      routing,
      narrow,
      clock: this.#clock,
      onEvent: (event) => report.take(event),
      stream: { asker, identity, limits, events: report.stream },
      onWaiting: (reason) => this.#readiness.set("resources", false, reason),
      ended: this.#ended.promise,
    });
  }

  #takeSignals(): void {
    const onSignal = (): void => (this.#drainingSince === undefined ? this.#quit() : this.#ended.resolve());
    process.on("SIGTERM", onSignal);
    process.on("SIGINT", onSignal);
    process.on("SIGHUP", () => void this.#reload());
  }

  /** Waits for a signal or the admin port, drains, ends. */
  async untilEnded(): Promise<ExitCode> {
    await this.#ended.promise;
    await this.end();
    return EXIT.done;
  }

  /** Closes what has been opened, and sees the last lines out. */
  async end(): Promise<void> {
    await this.#service?.close();
    this.#identity?.close();
    this.#resources?.close();
    this.#identityReport.close();
    this.#proxyMetrics.close();
    await Promise.all(this.#endpoints.map((endpoint) => endpoint.close()));
    await this.#writer.flush(FLUSH_MS);
  }

  async #takeOver(): Promise<StartFailure | undefined> {
    const answer = await askToEnd(this.#config.admin);
    if (answer instanceof StartFailure) return answer;
    this.#log.info(answer === "asked" ? "taking over" : "nobody to take over from");
    return undefined;
  }

  /** Readiness off, peers told, the ports left to whoever listens beside us, or to nobody; the process stays. */
  #drain(): void {
    if (this.#drainingSince !== undefined) return;
    this.#drainingSince = this.#clock.monotonic();
    this.#readiness.draining();
    this.#log.info("draining", { timeout_ms: this.#config.drain.timeoutMs });
    this.#service?.drain();
    this.#settled = processListeners.handOver(this.#clock).then(() => this.#service?.stopAccepting());
  }

  /** Drains, then ends when nothing runs or the time is over. */
  #quit(): void {
    this.#drain();
    this.#clock.after(this.#config.drain.timeoutMs, () => this.#ended.resolve());
    void this.#settled.then(() => this.#service?.idle()).then(() => this.#ended.resolve());
  }

  async #reload(): Promise<void> {
    this.#log.info("reading files again");
    await Promise.all([this.#identity?.reload(), this.#resources?.reload()]);
  }

  #foundation(identity: ReloadableSource, resources: ResourceSource): Foundation {
    return {
      clock: this.#clock,
      log: this.#log,
      accessLog: this.#accessLog,
      metrics: this.#metrics,
      countFailure: (failure) => this.#proxyMetrics.failure(failure.code),
      countHandshake: (direction, keyGroup) => this.#proxyMetrics.handshake(direction, keyGroup),
      identity,
      resources,
      tunnelLimits: this.#config.limits,
      compliance: this.#config.compliance,
      newId: connectionIds(),
    };
  }

  #registerMetrics(): ProxyMetrics {
    const none = { inbound: 0, outbound: 0 };
    return new ProxyMetrics(
      this.#metrics,
      {
        component: this.#toRun.component,
        ...buildVersion(),
        ready: () => this.#readiness.ready,
        certificate: () => this.#identityReport.certificate,
        identityEvents: () => this.#identityReport.counts,
        config: () => this.#resourcesReport.factsOf(this.#resources),
        connections: () => this.#service?.holds().connections ?? none,
        sessions: () => this.#service?.holds().sessions ?? none,
        tunnels: () => this.#service?.holds().tunnels ?? none,
        droppedLines: () => this.#writer.dropped,
        suppressedLines: () => this.#log.suppressed + this.#accessLog.suppressed,
      },
      this.#clock,
    );
  }

  #serveReadiness(): Promise<StartFailure | undefined> {
    return this.#serve("readiness", this.#config.readiness, (listen) =>
      serveReadiness({ listen, readiness: this.#readiness, ...this.#httpCommon() }),
    );
  }

  #serveMetrics(service: Service): Promise<StartFailure | undefined> {
    const { metrics } = this.#config;
    const others = service.expositions === undefined ? {} : { others: service.expositions };
    return this.#serve("metrics", metrics, (listen) =>
      serveMetrics({ listen, metrics: this.#metrics, ...others, ...this.#httpCommon() }),
    );
  }

  #serveAdmin(
    service: Service,
    identity: ReloadableSource,
    resources: ResourceSource,
  ): Promise<StartFailure | undefined> {
    const handlers: readonly AdminHandler[] = [
      configDumpHandler(resources, this.#toRun.routing),
      certificatesHandler(() => ({ identity: identity.get(), state: identity.state })),
      ...service.admin,
      ...loggingHandlers(this.#log),
      ...lifecycleHandlers({ drain: () => this.#drain(), quit: () => this.#quit() }),
    ];
    return this.#serve("admin", this.#config.admin, (listen) =>
      serveAdmin({ listen, handlers, ...this.#httpCommon() }),
    );
  }

  async #serve(
    key: string,
    address: ListenAddress | UnixAddress | undefined,
    listen: (address: HttpListen) => Promise<HttpEndpoint | Failure>,
  ): Promise<StartFailure | undefined> {
    if (address === undefined) return undefined;
    const endpoint = await listen(address.kind === "unix" ? { path: address.path } : address);
    if (isFailure(endpoint)) return new StartFailure(EXIT.port, [`${key}: ${endpoint.toString()}`]);
    this.#endpoints.push(endpoint);
    return undefined;
  }

  #httpCommon(): { readonly clock: Clock; readonly onError: (failure: Failure) => void } {
    return { clock: this.#clock, onError: (failure) => this.#log.failure("request failed", failure) };
  }

  /** The last line of defence: a defect of ours that an input has found is logged and counted, and ends nothing else. */
  #guardProcess(): void {
    processDescriptors.watch((short) => {
      const limit = processDescriptors.limit;
      if (short) this.#log.warn("out of descriptors, accepting pauses", { limit });
      else this.#log.info("descriptors are free again", { limit });
    });
    const defect = (error: unknown): void => {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      this.#proxyMetrics.failure("INTERNAL");
      this.#log.failure("defect", fail("INTERNAL", text));
    };
    process.on("uncaughtException", defect);
    process.on("unhandledRejection", defect);
  }
}
