// Root. `authority serve`: the folder, the port, and what every program of Culvert has around its work: log and metrics, readiness
// and admin, signals, and an end in order.
import { EXIT } from "@culvert/shared/config/cli.ts";
import type { ExitCode } from "@culvert/shared/config/cli.ts";
import { buildVersion } from "@culvert/shared/config/version.ts";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { IdentitySource } from "@culvert/shared/identity/source.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import type { Clock, Timer } from "@culvert/shared/net/clock.ts";
import { processDescriptors } from "@culvert/shared/net/descriptors.ts";
import { processMemory } from "@culvert/shared/net/memory.ts";
import type { ListenAddress, UnixAddress } from "@culvert/shared/net/listen-address.ts";
import { lifecycleHandlers, loggingHandlers } from "@culvert/shared/observe/admin-handlers.ts";
import { serveAdmin } from "@culvert/shared/observe/admin.ts";
import type { AdminHandler } from "@culvert/shared/observe/admin.ts";
import type { HttpEndpoint, HttpListen } from "@culvert/shared/observe/http-endpoint.ts";
import { LineWriter } from "@culvert/shared/observe/line-writer.ts";
import { Log } from "@culvert/shared/observe/log.ts";
import { serveMetrics } from "@culvert/shared/observe/metrics-server.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { ProxyMetrics } from "@culvert/shared/observe/proxy-metrics.ts";
import { Readiness, serveReadiness } from "@culvert/shared/observe/readiness.ts";
import { stdoutWriter } from "@culvert/shared/observe/stdout.ts";
import { StartFailure } from "@culvert/shared/service/start-failure.ts";
import type { AuthorityConfig, KubernetesConfig } from "../config/authority-schema.ts";
import type { ServiceAccountVerifier } from "../proof/proof.ts";
import { openFolderState } from "../state/folder-state.ts";
import { TokenStore } from "../state/token-store.ts";
import { AuditLog } from "../observe/audit-log.ts";
import type { ServedConfig } from "../config-stream/open-config.ts";
import { AUTHORITY_LIMITS } from "../authority-limits.ts";
import { AuthorityMetrics } from "../observe/authority-metrics.ts";
import type { AuthorityState } from "../state/authority-state.ts";
import { openOwnIdentity } from "./own-identity.ts";
import { openPort } from "./port.ts";
import type { Port } from "./port.ts";

/** How long the last lines of the log may take to leave the process, in milliseconds. */
const FLUSH_MS = 1_000;
/** How often expired tokens are put away. */
const SWEEP_MS = 3_600_000;

/** Serves until a signal or the admin port ends it. Returns the exit code, or why it could not start. */
export async function serveAuthority(config: AuthorityConfig): Promise<ExitCode | StartFailure> {
  const server = new Server(config);
  const failure = await server.start();
  if (failure === undefined) await server.ended;
  await server.close();
  return failure ?? EXIT.done;
}

class Server {
  readonly #settings: AuthorityConfig;
  readonly #clock: Clock = systemClock;
  readonly #writer: LineWriter;
  readonly #log: Log;
  readonly #audit: AuditLog;
  readonly #metrics: Metrics;
  readonly #proxyMetrics: ProxyMetrics;
  readonly #authorityMetrics: AuthorityMetrics;
  readonly #readiness = new Readiness(["authority", "listeners"]);
  readonly #endpoints: HttpEndpoint[] = [];
  readonly #timers: Timer[] = [];
  readonly #ended = Promise.withResolvers<void>();
  #state: AuthorityState | undefined;
  #identity: IdentitySource | undefined;
  #serviceAccounts: ServiceAccountVerifier | undefined;
  #port: Port | undefined;
  #config: ServedConfig | undefined;
  #draining = false;

  constructor(config: AuthorityConfig) {
    this.#settings = config;
    this.#writer = new LineWriter(stdoutWriter(), this.#clock);
    const write = this.#writer.line;
    this.#log = new Log({ level: config.log.level, write, clock: this.#clock });
    this.#audit = new AuditLog({ write, clock: this.#clock });
    this.#metrics = new Metrics({ clock: this.#clock });
    this.#authorityMetrics = new AuthorityMetrics(this.#metrics, {
      sessions: () => this.#port?.listener.sessions ?? 0,
      watchers: () => this.#port?.watchers.size ?? 0,
      trustVersion: () => this.#state?.trust().version,
      configClients: () => this.#config?.streams.size,
      configDocuments: () => this.#config?.source.mesh.size,
      issuerNotAfter: () => this.#state?.issuer().notAfter,
    });
    this.#proxyMetrics = new ProxyMetrics(
      this.#metrics,
      {
        component: "authority",
        ...buildVersion(),
        ready: () => this.#readiness.ready,
        certificate: () => {
          const svid = this.#identity?.get().svid;
          return svid === undefined ? undefined : { id: svid.id, notAfter: svid.notAfter };
        },
        droppedLines: () => this.#writer.dropped,
        suppressedLines: () => this.#log.suppressed + this.#audit.suppressed,
      },
      this.#clock,
    );
  }

  /** Settles when the process is to end. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Starts all parts in the order in which they need each other. */
  async start(): Promise<StartFailure | undefined> {
    this.#guardProcess();
    const probes = await this.#serve("readiness", this.#settings.readiness, (address) =>
      serveReadiness({ listen: address, readiness: this.#readiness, ...this.#httpCommon() }),
    );
    if (probes !== undefined) return probes;
    const authority = await this.#openAuthority();
    if (isFailure(authority)) return new StartFailure(EXIT.identity, [authority.toString()]);
    this.#readiness.set("authority", true);
    this.#config = await this.#openConfig(authority.state);
    const port = await this.#openPort(authority);
    if (isFailure(port)) return new StartFailure(EXIT.port, [`listen: ${port.toString()}`]);
    this.#port = port;
    const others =
      (await this.#serve("metrics", this.#settings.metrics, (address) =>
        serveMetrics({ listen: address, metrics: this.#metrics, ...this.#httpCommon() }),
      )) ??
      (await this.#serve("admin", this.#settings.admin, (address) =>
        serveAdmin({ listen: address, handlers: this.#adminHandlers(), ...this.#httpCommon() }),
      ));
    if (others !== undefined) return others;
    this.#readiness.set("listeners", true);
    processMemory.worked();
    // Before the line: who reads it may send a signal at once.
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.on(signal, () => (this.#draining ? this.#ended.resolve() : this.#quit()));
    }
    // Of the authority's own files all are looked at each second or when they are used.
    process.on("SIGHUP", () => {
      if (this.#config === undefined) this.#log.info("files are in use as they are");
      else void this.#config.source.reload();
    });
    const { trustDomain } = authority.state.issuer();
    // Certificates are signed meanwhile.
    this.#log.info(this.#readiness.ready ? "ready" : "serving, but not ready: no usable resources yet", {
      trust_domain: trustDomain,
      port: port.listener.address.port,
      version: buildVersion().version,
    });
    void this.#writer.flush(FLUSH_MS);
    return undefined;
  }

  /** Closes what has been opened, and sees the last lines out. */
  async close(): Promise<void> {
    this.#port?.watchers.drain();
    this.#config?.streams.drain();
    this.#config?.source.close();
    await this.#port?.listener.close();
    this.#identity?.close();
    this.#serviceAccounts?.close();
    await this.#state?.close();
    for (const timer of this.#timers) timer.cancel();
    this.#proxyMetrics.close();
    await Promise.all(this.#endpoints.map((endpoint) => endpoint.close()));
    await this.#writer.flush(FLUSH_MS);
  }

  async #openAuthority(): Promise<{ readonly state: AuthorityState; readonly identity: IdentitySource } | Failure> {
    const { folder, names, kubernetes } = this.#settings;
    const onFailure = (failure: Failure): void => {
      this.#proxyMetrics.failure(failure.code);
      this.#log.failure("authority kept as it was", failure);
    };
    const state = await openFolderState({ folder, clock: this.#clock, onFailure });
    if (isFailure(state)) return state;
    this.#state = state;
    state.onChange(() => {
      this.#log.info("authority changed", { trust_version: state.trust().version });
    });
    const identity = await openOwnIdentity({ state, names, clock: this.#clock, onFailure });
    if (isFailure(identity)) return identity;
    this.#identity = identity;
    const verifier = kubernetes === undefined ? undefined : await openVerifier(kubernetes, this.#clock);
    if (isFailure(verifier)) return verifier;
    this.#serviceAccounts = verifier;
    return { state, identity };
  }

  #openPort(authority: { readonly state: AuthorityState; readonly identity: IdentitySource }): Promise<Port | Failure> {
    const { folder, lifeMs, maxLifeMs, listen } = this.#settings;
    const tokens = new TokenStore(folder);
    this.#timers.push(this.#clock.every(SWEEP_MS, () => void this.#sweep(tokens)));
    return openPort({
      host: listen.host,
      port: listen.port,
      ...authority,
      tokens,
      serviceAccounts: this.#serviceAccounts,
      lifeMs,
      maxLifeMs,
      limits: AUTHORITY_LIMITS,
      clock: this.#clock,
      audit: this.#audit,
      metrics: this.#authorityMetrics,
      onRefused: (failure) => this.#proxyMetrics.failure(failure.code),
      onDropped: (remote, failure) => {
        this.#proxyMetrics.failure(failure.code);
        this.#log.failure("connection refused", failure, { remote });
      },
      onDefect: this.#defect,
      config: this.#config?.streams,
    });
  }

  /** The configuration stream, where there are resources; without good ones it waits for them, and certificates are signed all the same. */
  async #openConfig(state: AuthorityState): Promise<ServedConfig | undefined> {
    const { resources } = this.#settings;
    if (resources === undefined) return undefined;
    const { openConfig } = await import("../config-stream/open-config.ts");
    this.#readiness.set("resources", false, "no usable state of the folder yet");
    return openConfig({
      folder: resources.files,
      trustDomain: () => state.issuer().trustDomain,
      limits: AUTHORITY_LIMITS,
      clock: this.#clock,
      log: this.#log,
      metrics: this.#authorityMetrics,
      onFailure: (failure) => this.#proxyMetrics.failure(failure.code),
      onUsable: () => this.#readiness.set("resources", true),
    });
  }

  async #sweep(tokens: TokenStore): Promise<void> {
    const swept = await tokens.sweep(this.#clock.now());
    if (isFailure(swept)) this.#log.failure("expired tokens cannot be put away", swept);
  }

  /** Readiness off, watchers ended, callers told to go; the process stays. */
  #drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.#readiness.draining();
    this.#log.info("draining", { timeout_ms: this.#settings.drain.timeoutMs });
    this.#port?.watchers.drain();
    this.#config?.streams.drain();
    this.#port?.listener.stopAccepting();
  }

  /** Drains, then ends when nobody is left or the time is over. */
  #quit(): void {
    this.#drain();
    this.#timers.push(this.#clock.after(this.#settings.drain.timeoutMs, () => this.#ended.resolve()));
    void this.#port?.listener.idle().then(() => this.#ended.resolve());
  }

  #adminHandlers(): readonly AdminHandler[] {
    return [
      ...loggingHandlers(this.#log),
      ...(this.#config?.handlers ?? []),
      ...lifecycleHandlers({ drain: () => this.#drain(), quit: () => this.#quit() }),
    ];
  }

  async #serve(
    key: string,
    address: ListenAddress | UnixAddress | undefined,
    open: (address: HttpListen) => Promise<HttpEndpoint | Failure>,
  ): Promise<StartFailure | undefined> {
    if (address === undefined) return undefined;
    const endpoint = await open(address.kind === "unix" ? { path: address.path } : address);
    if (isFailure(endpoint)) return new StartFailure(EXIT.port, [`${key}: ${endpoint.toString()}`]);
    this.#endpoints.push(endpoint);
    return undefined;
  }

  #httpCommon(): { readonly clock: Clock; readonly onError: (failure: Failure) => void } {
    return { clock: this.#clock, onError: (failure) => this.#log.failure("request failed", failure) };
  }

  readonly #defect = (failure: Failure): void => {
    this.#proxyMetrics.failure(failure.code);
    this.#log.failure("defect", failure);
  };

  /** The last line of defence: a defect of ours that an input has found is logged and counted, and ends nothing else. */
  #guardProcess(): void {
    processDescriptors.watch((short) => {
      const { limit } = processDescriptors;
      if (short) this.#log.warn("out of descriptors, accepting pauses", { limit });
      else this.#log.info("descriptors are free again", { limit });
    });
    const onDefect = (error: unknown): void =>
      this.#defect(fail("INTERNAL", error instanceof Error ? (error.stack ?? error.message) : String(error)));
    process.on("uncaughtException", onDefect);
    process.on("unhandledRejection", onDefect);
  }
}

/** Loads what checks tokens in the configured way, and only that. */
async function openVerifier(config: KubernetesConfig, clock: Clock): Promise<ServiceAccountVerifier | Failure> {
  if (config.kind === "jwks") return (await import("../proof/jwks.ts")).openJwksVerifier({ ...config, clock });
  return (await import("../proof/token-review.ts")).openTokenReviewer({ ...config, clock });
}
