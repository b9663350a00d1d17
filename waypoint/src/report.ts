// Machine. What is told of tunnels, requests and passed-through connections: access log, metrics, failure counts.
import type { Failure } from "@culvert/shared/failure/failure.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import type { Clock } from "@culvert/shared/net/clock.ts";
import type { AccessLog } from "@culvert/shared/observe/access-log.ts";
import type { RequestMetrics, RequestSeries } from "@culvert/shared/observe/request-metrics.ts";
import type { NamedRule, RuleMetrics } from "@culvert/shared/observe/rule-metrics.ts";
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
  readonly rules: RuleMetrics;
  readonly tcp: TcpMetrics;
  /** Counts one more failure of a code. */
  readonly countFailure: (failure: Failure) => void;
  readonly ownId: () => SpiffeId;
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

/** Counts of a connection that grow while it is carried. */
export interface CarriedBytes {
  readonly fromClient: number;
  readonly toClient: number;
}

/** Makes the reports of a waypoint. */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #open = new Set<ConnectionReport>();

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /** A request that a rule with a name has served; `code` is 0 when no response was begun. */
  ruleServed(rule: NamedRule, code: number): void {
    this.#options.rules.record(rule, code);
  }

  /** The request metrics of one caller at one destination; to be kept. */
  requestSeries(
    view: MeshView,
    tunnel: Tunnel,
    destination: Destination | undefined,
    endpoint: UpstreamEndpoint | undefined,
    protocol: "http" | "grpc",
  ): RequestSeries {
    return this.#options.requests.between(trafficOf(view, tunnel, destination, endpoint), protocol);
  }

  /** One request has ended. */
  request(tunnel: Tunnel, facts: ExchangeFacts, context: RequestContext): void {
    const { failure } = facts;
    if (failure !== undefined) this.#options.countFailure(failure);
    this.#options.accessLog.request({
      connection: tunnel.id,
      startTime: this.#options.clock.now() - facts.durationMs,
      method: facts.method,
      path: facts.path,
      protocol: facts.version,
      authority: facts.authority,
      responseCode: facts.status,
      grpcStatus: facts.grpc?.status,
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
      sourceIdentity: tunnel.request.peer.id,
      tlsGroup: tunnel.request.keyGroup ?? "",
    });
  }

  /** Begins the report of a tunnel that is passed through, or refused. */
  connection(view: MeshView, tunnel: Tunnel, destination: Destination | undefined): ConnectionReport {
    return new ConnectionReport(this.#options, this.#open, { view, tunnel, destination });
  }

  /** Brings the byte counters of passed-through connections up to date, before a scrape. */
  progress(): void {
    for (const report of this.#open) report.progress();
  }
}

interface ConnectionContext {
  readonly view: MeshView;
  readonly tunnel: Tunnel;
  readonly destination: Destination | undefined;
}

/** The report of one connection that is not HTTP, or came to nothing. */
export class ConnectionReport {
  readonly #options: ReporterOptions;
  /** The reports whose bytes are to be looked at before a scrape. */
  readonly #open: Set<ConnectionReport>;
  readonly #context: ConnectionContext;
  #endpoint: UpstreamEndpoint | undefined;
  #decision: Permit | Denial | undefined;
  #route: { readonly uid: string; readonly rule: string } | undefined;
  #serverName: string | undefined;
  #bytes: CarriedBytes = { fromClient: 0, toClient: 0 };
  #counters: TcpConnection | undefined;

  constructor(options: ReporterOptions, open: Set<ConnectionReport>, context: ConnectionContext) {
    this.#options = options;
    this.#open = open;
    this.#context = context;
  }

  decided(decision: Permit | Denial): void {
    this.#decision = decision;
  }

  /** A rule of a route serves the connection. */
  routed(uid: string, rule: string, serverName: string | undefined): void {
    this.#route = { uid, rule };
    this.#serverName = serverName;
  }

  /** An endpoint is tried. */
  trying(endpoint: UpstreamEndpoint): void {
    this.#endpoint = endpoint;
  }

  /** Bytes flow from now on; `bytes` are live. */
  opened(bytes: CarriedBytes): void {
    this.#bytes = bytes;
    this.#counters = this.#options.tcp.between(this.#traffic()).open();
    this.#open.add(this);
  }

  progress(): void {
    this.#counters?.progress(this.#bytes.fromClient, this.#bytes.toClient);
  }

  /** The connection is over. */
  end(failure: Failure | undefined): void {
    const { accessLog, tcp, clock, countFailure, ownId } = this.#options;
    const { view, tunnel, destination } = this.#context;
    const { fromClient, toClient } = this.#bytes;
    const endpoint = this.#endpoint;
    const source = callerWorkload(view, tunnel);
    this.#open.delete(this);
    if (failure !== undefined) countFailure(failure);
    if (this.#counters !== undefined) this.#counters.closed(fromClient, toClient, failure);
    else if (failure !== undefined) tcp.between(this.#traffic()).refused(failure);
    accessLog.connection({
      connection: tunnel.id,
      direction: "inbound",
      source: {
        address: tunnel.source,
        workload: source?.name,
        namespace: source?.namespace,
        identity: tunnel.request.peer.id,
      },
      destination: {
        address: endpoint?.address ?? tunnel.request.rawAuthority,
        workload: endpoint?.workload.name,
        namespace: endpoint?.workload.namespace,
        identity: endpoint === undefined ? ownId() : principalOf(endpoint),
      },
      hboneAddress: endpoint === undefined ? tunnel.local : tunnelAddress(endpoint),
      service: destination?.kind === "service" ? destination.service.hostname : undefined,
      tlsGroup: tunnel.request.keyGroup,
      requestedServerName: this.#serverName,
      route: this.#route?.uid,
      rule: this.#route?.rule,
      bytesSent: toClient,
      bytesReceived: fromClient,
      durationMs: clock.monotonic() - tunnel.startedAt,
      failure,
      policy: this.#decision?.policy,
      policyRule: this.#decision?.rule,
      dryRun: this.#decision?.dryRun,
    });
  }

  #traffic(): Traffic {
    const { view, tunnel, destination } = this.#context;
    return trafficOf(view, tunnel, destination, this.#endpoint);
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
    source: { workload: callerWorkload(view, tunnel), principal: tunnel.request.peer.id },
    destination: { workload, principal: endpoint === undefined ? undefined : principalOf(endpoint) },
    service: destination?.kind === "service" ? destination.service : undefined,
    security: "mutual_tls",
  };
}

function principalOf(endpoint: UpstreamEndpoint): SpiffeId | undefined {
  return endpoint.reach.kind === "tunnel" ? endpoint.reach.expected : undefined;
}
