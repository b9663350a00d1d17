// Machine. What is told of tunnels, requests and passed-through connections: access log, metrics, failure counts.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { AccessLog } from "@culvert/shared/observe/access-log.ts";
import type { RequestMetrics, RequestSeries } from "@culvert/shared/observe/request-metrics.ts";
import type { TcpConnection, TcpMetrics } from "@culvert/shared/observe/tcp-metrics.ts";
import type { Traffic } from "@culvert/shared/observe/traffic-labels.ts";
import type { Denial, Permit } from "@culvert/shared/policy/decide.ts";
import type { ExchangeFacts } from "./exchange-services.ts";
import { callerWorkload, type Tunnel } from "./inbound/tunnel.ts";
import type { Destination } from "./mesh/destination.ts";
import type { MeshView } from "./mesh/view.ts";
import type { UpstreamEndpoint } from "./upstream/endpoints.ts";
import { tunnelAddress } from "./upstream/upstream.ts";

/** Where reports go. */
export interface ReporterOptions {
  readonly accessLog: AccessLog;
  readonly requests: RequestMetrics;
  readonly tcp: TcpMetrics;
  /** Counts one more failure of a code. */
  readonly countFailure: (failure: Failure) => void;
  readonly ownId: SpiffeId;
  readonly clock: Clock;
}

/** What a request line says beyond what the exchange itself knows. */
export interface RequestContext {
  readonly forwardedFor: string;
  readonly userAgent: string;
  readonly cluster: string;
  readonly route: string;
  readonly rule: string;
  readonly decision: Permit | Denial | undefined;
}

/** Makes the reports of a waypoint. */
export class Reporter {
  readonly #options: ReporterOptions;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** The request metrics of one caller at one destination; to be kept. */
  requestSeries(
    view: MeshView,
    tunnel: Tunnel,
    destination: Destination | undefined,
    endpoint: UpstreamEndpoint | undefined,
  ): RequestSeries {
    return this.#options.requests.between(trafficOf(view, tunnel, destination, endpoint), "http");
  }

  /** One request has ended. */
  request(tunnel: Tunnel, facts: ExchangeFacts, context: RequestContext, failure: Failure | undefined): void {
    if (failure !== undefined) this.#options.countFailure(failure);
    this.#options.accessLog.request({
      connection: tunnel.id,
      startTime: this.#options.clock.now() - facts.durationMs,
      method: facts.method,
      path: facts.path,
      protocol: facts.version,
      authority: facts.authority,
      responseCode: facts.status,
      failure,
      bytesReceived: facts.bytesReceived,
      bytesSent: facts.bytesSent,
      durationMs: facts.durationMs,
      upstreamServiceMs: facts.upstreamServiceMs,
      forwardedFor: context.forwardedFor,
      userAgent: context.userAgent,
      requestId: facts.requestId,
      upstreamHost: facts.endpoint?.address ?? "",
      upstreamCluster: context.cluster,
      upstreamLocalAddress: "",
      downstreamLocalAddress: tunnel.local,
      downstreamRemoteAddress: tunnel.source,
      requestedServerName: "",
      route: context.route,
      rule: context.rule,
      policy: context.decision?.policy ?? "",
      policyRule: context.decision?.rule ?? "",
      dryRun: context.decision?.dryRun,
      sourceIdentity: tunnel.caller.id,
    });
  }

  /** Begins the report of a tunnel that is passed through, or refused. */
  connection(view: MeshView, tunnel: Tunnel, destination: Destination | undefined): ConnectionReport {
    return new ConnectionReport(this.#options, view, tunnel, destination);
  }
}

/** The report of one connection that is not HTTP, or came to nothing. */
export class ConnectionReport {
  readonly #options: ReporterOptions;
  readonly #view: MeshView;
  readonly #tunnel: Tunnel;
  readonly #destination: Destination | undefined;
  #endpoint: UpstreamEndpoint | undefined;
  #decision: Permit | Denial | undefined;
  #counters: TcpConnection | undefined;

  constructor(options: ReporterOptions, view: MeshView, tunnel: Tunnel, destination: Destination | undefined) {
    this.#options = options;
    this.#view = view;
    this.#tunnel = tunnel;
    this.#destination = destination;
  }

  decided(decision: Permit | Denial): void {
    this.#decision = decision;
  }

  /** Bytes flow from now on. */
  opened(endpoint: UpstreamEndpoint): void {
    this.#endpoint = endpoint;
    this.#counters = this.#options.tcp.between(this.#traffic()).open();
  }

  /** Counts so far, for a scrape. */
  progress(fromClient: number, toClient: number): void {
    this.#counters?.progress(fromClient, toClient);
  }

  /** The connection is over. */
  end(failure: Failure | undefined, fromClient: number = 0, toClient: number = 0): void {
    const { accessLog, tcp, clock, countFailure, ownId } = this.#options;
    const endpoint = this.#endpoint;
    const source = callerWorkload(this.#view, this.#tunnel);
    if (failure !== undefined) countFailure(failure);
    if (this.#counters !== undefined) this.#counters.closed(fromClient, toClient, failure);
    else if (failure !== undefined) tcp.between(this.#traffic()).refused(failure);
    accessLog.connection({
      connection: this.#tunnel.id,
      direction: "inbound",
      source: {
        address: this.#tunnel.source,
        workload: source?.name,
        namespace: source?.namespace,
        identity: this.#tunnel.caller.id,
      },
      destination: {
        address: endpoint?.address ?? this.#tunnel.request.rawAuthority,
        workload: endpoint?.workload.name,
        namespace: endpoint?.workload.namespace,
        identity: endpoint === undefined ? ownId : principalOf(endpoint),
      },
      hboneAddress: endpoint === undefined ? this.#tunnel.local : tunnelAddress(endpoint),
      service: this.#destination?.kind === "service" ? this.#destination.service.hostname : undefined,
      bytesSent: toClient,
      bytesReceived: fromClient,
      durationMs: clock.monotonic() - this.#tunnel.startedAt,
      failure,
      policy: this.#decision?.policy,
      policyRule: this.#decision?.rule,
      dryRun: this.#decision?.dryRun,
    });
  }

  #traffic(): Traffic {
    return trafficOf(this.#view, this.#tunnel, this.#destination, this.#endpoint);
  }
}

function trafficOf(
  view: MeshView,
  tunnel: Tunnel,
  destination: Destination | undefined,
  endpoint: UpstreamEndpoint | undefined,
): Traffic {
  const workload = endpoint?.workload ?? (destination?.kind === "workload" ? destination.workload : undefined);
  return {
    reporter: "waypoint",
    source: { workload: callerWorkload(view, tunnel), principal: tunnel.caller.id },
    destination: { workload, principal: endpoint === undefined ? undefined : principalOf(endpoint) },
    service: destination?.kind === "service" ? destination.service : undefined,
    security: "mutual_tls",
  };
}

function principalOf(endpoint: UpstreamEndpoint): SpiffeId | undefined {
  return endpoint.reach.kind === "tunnel" ? endpoint.reach.expected : undefined;
}
