// Machine. What is told of a connection: its counters while it lives, one access-log line when it has ended.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { AccessLog } from "@culvert/shared/observe/access-log.ts";
import type { TcpConnection, TcpMetrics, TcpSeries } from "@culvert/shared/observe/tcp-metrics.ts";
import type { Traffic } from "@culvert/shared/observe/traffic-labels.ts";
import type { Denial, Permit } from "@culvert/shared/policy/decide.ts";
import type { Service, Workload } from "@culvert/shared/workload/workload.ts";
import type { LiveConnection } from "./connections.ts";

/** What is known of a connection when it begins. */
export interface ReportFacts {
  readonly connection: LiveConnection;
  readonly ownId: SpiffeId;
  /** Inbound: who called. Outbound: known once a tunnel is open. */
  readonly peerId: SpiffeId | undefined;
  /** The group by which the keys of the tunnel's session were agreed, known together with the peer. */
  readonly keyGroup?: string | undefined;
  readonly sourceWorkload: Workload | undefined;
  readonly destinationWorkload: Workload | undefined;
  readonly service: Service | undefined;
  readonly hboneAddress: string | undefined;
  readonly destinationAddress: string;
}

/** Where reports go. */
export interface ReporterOptions {
  readonly accessLog: AccessLog;
  readonly metrics: TcpMetrics;
  /** Counts one more failure of a code. */
  readonly countFailure: (failure: Failure) => void;
  readonly clock: Clock;
}

/** A uproxy has few pairs of ends at a time; beyond this many the labels are made anew. */
const MAX_KEPT_SERIES = 1_024;

/** Makes the reports of connections. */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #open = new Set<ConnectionReport>();
  /** Series by their ends: making one costs as much as the rest of a report. */
  readonly #series = new Map<string, TcpSeries>();

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  open(facts: ReportFacts): ConnectionReport {
    const report = new ConnectionReport(this, facts);
    this.#open.add(report);
    return report;
  }

  get options(): ReporterOptions {
    return this.#options;
  }

  /** The series of connections between these ends. */
  series(traffic: Traffic): TcpSeries {
    const { source, destination, service } = traffic;
    const key = [
      traffic.reporter,
      source.principal,
      source.workload?.uid,
      destination.principal,
      destination.workload?.uid,
      service?.hostname,
    ].join(" ");
    let series = this.#series.get(key);
    if (series === undefined) {
      if (this.#series.size >= MAX_KEPT_SERIES) this.#series.clear();
      series = this.#options.metrics.between(traffic);
      this.#series.set(key, series);
    }
    return series;
  }

  /** Labels may have changed with the resources: series are made anew. */
  forgetSeries(): void {
    this.#series.clear();
  }

  /** For reports that have ended. */
  forget(report: ConnectionReport): void {
    this.#open.delete(report);
  }

  /** Brings the byte counters of live connections up to date, before a scrape. */
  progress(): void {
    for (const report of this.#open) report.progress();
  }
}

/** The report of one connection. */
export class ConnectionReport {
  readonly #reporter: Reporter;
  readonly #facts: ReportFacts;
  #verdict: Permit | Denial | undefined;
  #destination: Workload | undefined;
  #peerId: SpiffeId | undefined;
  #keyGroup: string | undefined;
  #hboneAddress: string | undefined;
  #counters: TcpConnection | undefined;

  constructor(reporter: Reporter, facts: ReportFacts) {
    this.#reporter = reporter;
    this.#facts = facts;
    this.#destination = facts.destinationWorkload;
    this.#peerId = facts.peerId;
    this.#keyGroup = facts.keyGroup;
    this.#hboneAddress = facts.hboneAddress;
  }

  /** A policy has decided. */
  decided(verdict: Permit | Denial): void {
    this.#verdict = verdict;
  }

  /** An endpoint is tried: which workload, at which tunnel address. */
  trying(workload: Workload, hboneAddress: string | undefined): void {
    this.#destination = workload;
    this.#hboneAddress = hboneAddress;
  }

  /** The peer at that endpoint has proved its identity. */
  proved(peerId: SpiffeId, keyGroup: string | undefined): void {
    this.#peerId = peerId;
    this.#keyGroup = keyGroup;
  }

  /** Bytes flow from now on. */
  opened(): void {
    this.#counters = this.#reporter.series(this.#traffic()).open();
  }

  /** The byte counts so far go to the counters. */
  progress(): void {
    const { received, sent } = this.#bytes();
    this.#counters?.progress(received, sent);
  }

  /** The connection is over. */
  end(failure: Failure | undefined): void {
    const { accessLog, clock, countFailure } = this.#reporter.options;
    const { connection, ownId, sourceWorkload, service, destinationAddress } = this.#facts;
    const { direction, source, startedAt } = connection.info;
    const inbound = direction === "inbound";
    const { received, sent } = this.#bytes();
    this.#reporter.forget(this);
    if (failure !== undefined) countFailure(failure);
    if (this.#counters !== undefined) this.#counters.closed(received, sent, failure);
    else if (failure !== undefined) this.#reporter.series(this.#traffic()).refused(failure);
    accessLog.connection({
      connection: connection.id,
      direction,
      source: {
        address: source,
        workload: sourceWorkload?.name,
        namespace: sourceWorkload?.namespace,
        identity: inbound ? this.#peerId : ownId,
      },
      destination: {
        address: destinationAddress,
        workload: this.#destination?.name,
        namespace: this.#destination?.namespace,
        identity: inbound ? ownId : this.#peerId,
      },
      hboneAddress: this.#hboneAddress,
      service: service?.hostname,
      tlsGroup: this.#keyGroup,
      bytesSent: sent,
      bytesReceived: received,
      durationMs: clock.monotonic() - startedAt,
      failure,
      policy: this.#verdict?.policy,
      policyRule: this.#verdict?.rule,
      dryRun: this.#verdict?.dryRun,
    });
  }

  /**
   * The pump counts from its socket's point of view. A request flows from the client, which is the socket's side at the
   * source and the tunnel's side at the destination.
   */
  #bytes(): { readonly received: number; readonly sent: number } {
    const { info, bytes } = this.#facts.connection;
    const { fromSocket, toSocket } = bytes ?? { fromSocket: 0, toSocket: 0 };
    return info.direction === "inbound"
      ? { received: toSocket, sent: fromSocket }
      : { received: fromSocket, sent: toSocket };
  }

  #traffic(): Traffic {
    const { connection, ownId, sourceWorkload, service } = this.#facts;
    const inbound = connection.info.direction === "inbound";
    return {
      reporter: inbound ? "destination" : "source",
      source: { workload: sourceWorkload, principal: inbound ? this.#peerId : ownId },
      destination: { workload: this.#destination, principal: inbound ? ownId : this.#peerId },
      service,
      security: this.#peerId === undefined ? "unknown" : "mutual_tls",
    };
  }
}
