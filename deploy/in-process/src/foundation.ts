// Machine. What a mesh in this process stands on: its identity, its resources, its counters, and a log for whoever asked for one.
// Nothing of it is the process's own: no signals, no ports, no standard output, no memory to look after.
import type { UproxyConfig } from "@culvert/shared/config/process/process-config.ts";
import type { ResourceSource } from "@culvert/shared/config/resource-source.ts";
import { buildVersion } from "@culvert/shared/config/version.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { ReloadableSource } from "@culvert/shared/identity/source.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { processMemoryCap } from "@culvert/shared/net/memory-cap.ts";
import { processMemory } from "@culvert/shared/net/memory.ts";
import { AccessLog } from "@culvert/shared/observe/access-log.ts";
import { connectionIds } from "@culvert/shared/observe/ids.ts";
import { Log } from "@culvert/shared/observe/log.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { ProxyMetrics, type ByDirection } from "@culvert/shared/observe/proxy-metrics.ts";
import { IdentityReport } from "@culvert/shared/service/identity-report.ts";
import { firstIdentity } from "@culvert/shared/service/open-identity.ts";
import { firstResources } from "@culvert/shared/service/open-resources.ts";
import { ResourcesReport } from "@culvert/shared/service/resources-report.ts";
import type { Foundation } from "@culvert/shared/service/service.ts";
import { StartFailure } from "@culvert/shared/service/start-failure.ts";
import { askerOf } from "@culvert/uproxy/self-hints.ts";
import { MeshConfigurationError, MeshError } from "./errors.ts";

/** What the application may add to a configuration. */
export interface MeshOptions {
  /** Takes each line of the log, access lines included: JSON without a newline, with the keys of docs/logs.md. */
  readonly log?: (line: string) => void;
  /** Gives up waiting for the identity. */
  readonly signal?: AbortSignal;
}

/** What is held now, for the metrics. */
export interface Holds {
  readonly connections: ByDirection;
  readonly sessions: ByDirection;
  readonly tunnels: ByDirection;
}

/** A foundation, and what belongs to it. */
export interface OpenFoundation {
  readonly foundation: Foundation;
  /** Says who is asked what is held. */
  readonly setHolds: (holds: () => Holds) => void;
  readonly close: () => void;
}

const NOTHING: ByDirection = { inbound: 0, outbound: 0 };

/** Waits for identity and resources. Throws a MeshError, a MeshConfigurationError, or the reason of the signal. */
export async function openFoundation(config: UproxyConfig, options: MeshOptions): Promise<OpenFoundation> {
  processMemory.leaveToOwner();
  processMemoryCap.leaveToOwner();
  const opening = new Opening(config, options);
  try {
    return await opening.open();
  } catch (error) {
    opening.close();
    throw error;
  }
}

class Opening {
  readonly #config: UproxyConfig;
  readonly #signal: AbortSignal | undefined;
  readonly #clock = systemClock;
  readonly #log: Log;
  readonly #accessLog: AccessLog;
  readonly #metrics = new Metrics({ clock: this.#clock });
  readonly #proxyMetrics: ProxyMetrics;
  readonly #identityReport: IdentityReport;
  readonly #resourcesReport: ResourcesReport;
  #identity: ReloadableSource | undefined;
  #resources: ResourceSource | undefined;
  #holds: () => Holds = () => ({ connections: NOTHING, sessions: NOTHING, tunnels: NOTHING });
  #closed = false;

  constructor(config: UproxyConfig, { log, signal }: MeshOptions) {
    this.#config = config;
    this.#signal = signal;
    const clock = this.#clock;
    const write = safely(log);
    this.#log = new Log({ level: log === undefined ? "error" : config.log.level, write, clock });
    this.#accessLog = new AccessLog({ mode: log === undefined ? "off" : config.log.access, write, clock });
    this.#proxyMetrics = this.#registerMetrics();
    const countFailure = (failure: Failure): void => this.#proxyMetrics.failure(failure.code);
    const reporting = { log: this.#log, clock, countFailure };
    this.#identityReport = new IdentityReport({ ...reporting, identity: () => this.#identity?.get() });
    this.#resourcesReport = new ResourcesReport(reporting);
  }

  async open(): Promise<OpenFoundation> {
    const { identity, limits, compliance } = this.#config;
    const signal = this.#signal;
    const ended = new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true }));
    signal?.throwIfAborted();
    const own = await firstIdentity({
      config: identity,
      clock: this.#clock,
      onEvent: (event) => this.#identityReport.take(event),
      onWaiting: () => undefined,
      ended,
    });
    if (isFailure(own)) throw new MeshError(own);
    this.#identity = own;
    signal?.throwIfAborted();
    if (own === undefined) throw new Error("nobody has given up, and there is no identity");
    const found = await this.#openResources(own, ended);
    if (found instanceof StartFailure) throw new MeshConfigurationError(found.lines);
    this.#resources = found;
    signal?.throwIfAborted();
    if (found === undefined) throw new Error("nobody has given up, and there are no resources");
    const foundation: Foundation = {
      clock: this.#clock,
      log: this.#log,
      accessLog: this.#accessLog,
      metrics: this.#metrics,
      countFailure: (failure) => this.#proxyMetrics.failure(failure.code),
      countHandshake: (direction, keyGroup) => this.#proxyMetrics.handshake(direction, keyGroup),
      identity: own,
      resources: found,
      tunnelLimits: limits,
      compliance,
      newId: connectionIds(),
    };
    return { foundation, setHolds: (holds) => (this.#holds = holds), close: () => this.close() };
  }

  #openResources(identity: ReloadableSource, ended: Promise<void>): Promise<ResourceSource | StartFailure | undefined> {
    const { resources, limits } = this.#config;
    const report = this.#resourcesReport;
    return firstResources({
      config: resources,
      metrics: this.#metrics,
      routing: undefined,
      clock: this.#clock,
      onEvent: (event) => report.take(event),
      stream: { asker: () => askerOf(this.#config), identity, limits, events: report.stream },
      onWaiting: (reason) => this.#log.info("waiting for resources", { error: reason }),
      ended,
    });
  }

  close(): void {
    this.#closed = true;
    this.#identity?.close();
    this.#resources?.close();
    this.#identityReport.close();
    this.#proxyMetrics.close();
  }

  #registerMetrics(): ProxyMetrics {
    return new ProxyMetrics(
      this.#metrics,
      {
        component: "in-process",
        ...buildVersion(),
        ready: () => this.#resources !== undefined && !this.#closed,
        certificate: () => this.#identityReport.certificate,
        identityEvents: () => this.#identityReport.counts,
        config: () => this.#resourcesReport.factsOf(this.#resources),
        connections: () => this.#holds().connections,
        sessions: () => this.#holds().sessions,
        tunnels: () => this.#holds().tunnels,
        droppedLines: () => 0,
        suppressedLines: () => this.#log.suppressed + this.#accessLog.suppressed,
      },
      this.#clock,
    );
  }
}

/** A writer of the application that throws costs its line and nothing else. */
function safely(write: MeshOptions["log"]): (line: string) => void {
  if (write === undefined) return () => undefined;
  return (line) => {
    try {
      write(line);
    } catch {
      // Its own affair.
    }
  };
}
