// Root. What both programs do around their service: log and metrics, identity and resources, the ports for readiness,
// metrics and admin, signals, and an end in order.
import { setDefaultCACertificates } from "node:tls";
import { EXIT, type ExitCode } from "../config/cli.ts";
import type { CommonConfig } from "../config/process-config.ts";
import { openResourceFolder } from "../config/files-source.ts";
import type { ResourceEvent, ResourceSource } from "../config/resource-source.ts";
import { formatProblem } from "../config/problem-text.ts";
import type { Routing } from "../config/routing/routing.ts";
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
import { configDumpHandler, restoredText } from "./source-text.ts";
import { StartFailure } from "./start-failure.ts";
import { askToEnd } from "./take-over.ts";

/** How long the last lines of the log may take to leave the process, in milliseconds. */
const FLUSH_MS = 1_000;

/**
 * Runs a service until a signal or the admin port ends it.
 *
 * @param routing reads routes, where the service follows any
 * @returns the exit code, or why it could not start
 */
export async function runService(
  component: "uproxy" | "waypoint",
  config: CommonConfig,
  startService: StartService,
  routing?: Routing,
): Promise<ExitCode | StartFailure> {
  const runner = new Runner(component, config, routing);
  const failure = await runner.start(startService);
  if (failure === undefined) return runner.untilEnded();
  await processListeners.giveBack(systemClock);
  await runner.end();
  return failure;
}

class Runner {
  readonly #component: "uproxy" | "waypoint";
  readonly #config: CommonConfig;
  readonly #routing: Routing | undefined;
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
  readonly #endpoints: HttpEndpoint[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #identity: ReloadableSource | undefined;
  #resources: ResourceSource | undefined;
  #service: Service | undefined;
  /** Problems of the newest folder, in use or not. */
  #problems = { errors: 0, notUnderstood: 0 };
  #notSaved = 0;
  #drainingSince: number | undefined;
  /** Settles once the ports are closed. */
  #settled: Promise<void> = Promise.resolve();

  constructor(component: "uproxy" | "waypoint", config: CommonConfig, routing: Routing | undefined) {
    this.#routing = routing;
    this.#component = component;
    this.#config = config;
    this.#writer = new LineWriter(stdoutWriter(), this.#clock);
    const write = this.#writer.line;
    this.#log = new Log({ level: config.log.level, write, clock: this.#clock });
    this.#accessLog = new AccessLog({ mode: config.log.access, write, clock: this.#clock });
    this.#metrics = new Metrics({ clock: this.#clock });
    this.#proxyMetrics = this.#registerMetrics();
    this.#identityReport = new IdentityReport({
      log: this.#log,
      clock: this.#clock,
      countFailure: (failure) => this.#proxyMetrics.failure(failure.code),
      identity: () => this.#identity?.get(),
    });
  }

  /** Starts all parts in the order in which they need each other. */
  async start(startService: StartService): Promise<StartFailure | undefined> {
    const { identity, resources } = this.#config;
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

    const folder = await openResourceFolder({
      folder: resources.folder,
      routing: this.#routing,
      lastGood: resources.lastGood,
      clock: this.#clock,
      onEvent: (event) => this.#onResources(event),
    });
    if (!("get" in folder)) return new StartFailure(EXIT.usage, folder.map(formatProblem));
    this.#resources = folder;
    this.#readiness.annotate(() => restoredText(folder, this.#clock.now()));
    this.#readiness.set("resources", true);

    const service = await startService(this.#foundation(own, folder));
    if (service instanceof StartFailure) return service;
    this.#service = service;
    const failure = await this.#serveMetrics(service);
    if (failure !== undefined) return failure;
    this.#readiness.set("listeners", true);
    // Our admin port comes last: until it is there, who asks reaches the process that is to be taken over from.
    const last =
      (processListeners.beside ? ((await this.#serveReadiness()) ?? (await this.#takeOver())) : undefined) ??
      (await this.#serveAdmin(service, own, folder));
    if (last !== undefined) return last;
    processMemory.worked();
    this.#log.info("ready", { identity: own.get().svid.id, version: buildVersion().version });
    // At once: whoever waits for this line would wait for the batch too, which is as long as all of the start.
    void this.#writer.flush(FLUSH_MS);
    return undefined;
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
        component: this.#component,
        ...buildVersion(),
        ready: () => this.#readiness.ready,
        certificate: () => {
          const svid = this.#identity?.get().svid;
          return svid === undefined ? undefined : { id: svid.id, notAfter: svid.notAfter };
        },
        identityEvents: () => this.#identityReport.counts,
        config: () => ({
          version: this.#resources?.get().version ?? 0,
          asOf: this.#resources?.asOf ?? this.#clock.now(),
          isRestored: this.#resources?.isRestored ?? false,
          notSaved: this.#notSaved,
          ...this.#problems,
        }),
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
      configDumpHandler(resources, this.#routing),
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

  #onResources(event: ResourceEvent): void {
    if (event.kind === "name-unresolved") {
      this.#log.warn("name not resolved, its last addresses stay", { host: event.host, error: event.text });
      return;
    }
    if (event.kind === "not-saved") {
      this.#notSaved += 1;
      this.#log.warn("resources not saved for the next start", { error: event.text });
      return;
    }
    const problems = event.kind === "swapped" ? event.snapshot.problems : event.problems;
    const errors = problems.filter((problem) => problem.severity === "error").length;
    this.#problems = { errors, notUnderstood: problems.length - errors };
    if (event.kind === "swapped") this.#log.info("resources in use", { version: event.snapshot.version });
    else if (event.kind === "kept") this.#log.warn("resources have errors, the last good ones stay in use", { errors });
    else {
      const age = Math.round((this.#clock.now() - event.savedAt) / 1000);
      this.#log.warn("resources cannot be used, those that were saved last are in use", { errors, age_seconds: age });
    }
    for (const problem of problems) {
      this.#log.warn(`resource ${problem.severity}`, { resource: problem.resource, error: formatProblem(problem) });
    }
    processMemory.worked();
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
