// Machine. The access log: one JSON line per connection (uproxy, and TCP in a waypoint) or per request (waypoint).
import type { Failure } from "../failure/failure.ts";
import type { Clock } from "../net/clock.ts";
import { FloodGate, HELD } from "./flood-gate.ts";
import { isPlain, jsonText, MAX_TEXT_BYTES } from "./json-text.ts";
import { TimeText } from "./time-text.ts";

/** What is logged: everything, failures only, nothing, or failures and this share (0 to 1) of the rest. */
export type AccessMode = "all" | "failures" | "off" | number;

/** One end of a connection. What is not known is `undefined` and leaves its key out of the line. */
export interface ConnectionEnd {
  /** `ip:port`. */
  readonly address: string;
  readonly workload: string | undefined;
  readonly namespace: string | undefined;
  /** SPIFFE ID. */
  readonly identity: string | undefined;
}

/** One connection at its end. Keys of the line are ztunnel's. */
export interface ConnectionEntry {
  /** The id of the connection, as `/connections` shows it. */
  readonly connection: string;
  readonly direction: "inbound" | "outbound";
  readonly source: ConnectionEnd;
  readonly destination: ConnectionEnd;
  /** Tunnel address of the destination, `ip:port`. */
  readonly hboneAddress: string | undefined;
  /** Hostname of the service that was asked for. */
  readonly service: string | undefined;
  /** The group by which the keys of the tunnel's session were agreed. */
  readonly tlsGroup: string | undefined;
  /** The server that the client named in its ClientHello, where that was read. */
  readonly requestedServerName?: string | undefined;
  /** The route, `namespace/name`. */
  readonly route?: string | undefined;
  /** Its rule: name or `rules[n]`. */
  readonly rule?: string | undefined;
  /** Bytes from the server to the client, as in `istio_tcp_sent_bytes_total`. */
  readonly bytesSent: number;
  /** Bytes from the client to the server. */
  readonly bytesReceived: number;
  readonly durationMs: number;
  readonly failure: Failure | undefined;
  /** The policy that decided, `namespace/name`. */
  readonly policy: string | undefined;
  /** Its rule, `rules[n]`. */
  readonly policyRule: string | undefined;
  /** What dry-run policies would have done. */
  readonly dryRun?: readonly string[] | undefined;
}

/**
 * One request at its end. Flat, so that the object which carries the exchange can itself be handed in. Absent texts are
 * empty; they, and `undefined` numbers, are written as `"-"`, as Istio does.
 */
export interface RequestEntry {
  readonly connection: string;
  /** Milliseconds since the epoch. */
  readonly startTime: number;
  readonly method: string;
  /** As the client sent it, with query. */
  readonly path: string;
  /** `HTTP/1.1`, `HTTP/2`. */
  readonly protocol: string;
  readonly authority: string;
  /** 0 when no response was begun. */
  readonly responseCode: number;
  /** `undefined` for what is not gRPC, and for a call that came to none. */
  readonly grpcStatus: number | undefined;
  readonly failure: Failure | undefined;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly durationMs: number;
  readonly upstreamServiceMs: number | undefined;
  readonly forwardedFor: string;
  readonly userAgent: string;
  readonly requestId: string;
  /** `ip:port` of the endpoint. */
  readonly upstreamHost: string;
  /** The backend, `namespace/service:port`. */
  readonly upstreamCluster: string;
  readonly upstreamLocalAddress: string;
  readonly downstreamLocalAddress: string;
  readonly downstreamRemoteAddress: string;
  readonly requestedServerName: string;
  /** The route, `namespace/name`. */
  readonly route: string;
  /** Its rule: name or `rules[n]`. */
  readonly rule: string;
  /** The policy that decided, `namespace/name`. */
  readonly policy: string;
  /** Its rule, `rules[n]`. */
  readonly policyRule: string;
  /** What dry-run policies would have done. */
  readonly dryRun?: readonly string[] | undefined;
  /** SPIFFE ID of the caller. */
  readonly sourceIdentity: string;
  /** The group by which the keys of the caller's session were agreed. */
  readonly tlsGroup: string;
}

/** What an access log needs. */
export interface AccessLogOptions {
  readonly mode: AccessMode;
  /** Takes one line without newline and never blocks: `LineWriter.line`. */
  readonly write: (line: string) => void;
  readonly clock: Clock;
  /** A number from 0 to 1, for the share. */
  readonly random?: () => number;
}

/** Lines of one failure code per second; what is beyond is counted and told by the next line as `suppressed`. */
const FAILURES_PER_SECOND = 1000;

/** The access log of a process. */
export class AccessLog {
  readonly #write: (line: string) => void;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #failures: boolean;
  readonly #share: number;
  readonly #gate: FloodGate;
  readonly #time = new TimeText();
  readonly #startTime = new TimeText();

  constructor(options: AccessLogOptions) {
    this.#write = options.write;
    this.#clock = options.clock;
    this.#random = options.random ?? Math.random;
    this.#failures = options.mode !== "off";
    this.#share = typeof options.mode === "number" ? options.mode : options.mode === "all" ? 1 : 0;
    this.#gate = new FloodGate(options.clock, FAILURES_PER_SECOND);
  }

  /** Lines of failures held back because the same code came too often. */
  get suppressed(): number {
    return this.#gate.suppressed;
  }

  /** Logs a connection that has ended, if the mode asks for it. */
  connection(entry: ConnectionEntry): void {
    const { source, destination, failure } = entry;
    const held = this.#admit(failure);
    if (held === HELD) return;
    this.#write(
      `{"time":"${this.#time.of(this.#clock.now())}","level":"${level(failure)}","target":"access"` +
        `,"connection":${jsonText(entry.connection)},"direction":"${entry.direction}"` +
        end("src", source) +
        end("dst", destination) +
        optional("dst.hbone_addr", entry.hboneAddress) +
        optional("dst.service", entry.service) +
        optional("tls.group", entry.tlsGroup) +
        optional("requested_server_name", entry.requestedServerName) +
        optional("route", entry.route) +
        optional("rule", entry.rule) +
        `,"bytes_sent":${entry.bytesSent},"bytes_recv":${entry.bytesReceived}` +
        `,"duration_ms":${Math.round(entry.durationMs)}` +
        optional("policy", entry.policy) +
        optional("policy_rule", entry.policyRule) +
        dryRunText(entry.dryRun) +
        outcome(failure, held),
    );
  }

  /** Logs a request that has ended, if the mode asks for it. Hot path. */
  request(entry: RequestEntry): void {
    const { failure } = entry;
    const held = this.#admit(failure);
    if (held === HELD) return;
    const time = this.#startTime.of(entry.startTime);
    // One template for both: nearly every line of a healthy mesh needs no escape, and then none is looked for twice.
    const text = failure === undefined && isPlainEntry(entry) ? orDash : escaped;
    this.#write(requestLine(entry, time, text) + dryRunText(entry.dryRun) + outcome(failure, held));
  }

  #admit(failure: Failure | undefined): number {
    if (failure !== undefined) return this.#failures ? this.#gate.admit(failure.code) : HELD;
    if (this.#share === 1) return 0;
    return this.#share > 0 && this.#random() < this.#share ? 0 : HELD;
  }
}

function level(failure: Failure | undefined): string {
  return failure === undefined ? "info" : "error";
}

function end(prefix: "src" | "dst", one: ConnectionEnd): string {
  return (
    `,"${prefix}.addr":${jsonText(one.address)}` +
    optional(`${prefix}.workload`, one.workload) +
    optional(`${prefix}.namespace`, one.namespace) +
    optional(`${prefix}.identity`, one.identity)
  );
}

function dryRunText(dryRun: readonly string[] | undefined): string {
  if (dryRun === undefined || dryRun.length === 0) return "";
  return `,"dry_run":${jsonText(dryRun.join("; "), MAX_TEXT_BYTES)}`;
}

function optional(key: string, text: string | undefined): string {
  return text === undefined || text === "" ? "" : `,"${key}":${jsonText(text)}`;
}

/** The line of a request but for its end. `text` gives what stands between two quotes. */
function requestLine(entry: RequestEntry, time: string, text: (value: string) => string): string {
  const { failure } = entry;
  const { who, flag } = failure?.traits ?? { who: undefined, flag: "-" };
  const details = failure === undefined ? "via_upstream" : failure.code.toLowerCase();
  const termination = failure !== undefined && who === "downstream" ? failure.detail : "";
  const upstreamFailure = failure !== undefined && who === "upstream" ? failure.detail : "";
  return (
    `{"start_time":"${time}","level":"${level(failure)}","target":"access","connection":"${text(entry.connection)}` +
    `","method":"${text(entry.method)}","path":"${text(entry.path)}","protocol":"${text(entry.protocol)}` +
    `","authority":"${text(entry.authority)}","response_code":${entry.responseCode}${grpcStatus(entry.grpcStatus)},"response_flags":"${flag}` +
    `","response_code_details":"${details}","connection_termination_details":"${text(termination)}` +
    `","upstream_transport_failure_reason":"${text(upstreamFailure)}","bytes_received":${entry.bytesReceived}` +
    `,"bytes_sent":${entry.bytesSent},"duration":${Math.round(entry.durationMs)},"upstream_service_time":${milliseconds(entry.upstreamServiceMs)}` +
    `,"x_forwarded_for":"${text(entry.forwardedFor)}","user_agent":"${text(entry.userAgent)}","request_id":"${text(entry.requestId)}` +
    `","upstream_host":"${text(entry.upstreamHost)}","upstream_cluster":"${text(entry.upstreamCluster)}` +
    `","upstream_local_address":"${text(entry.upstreamLocalAddress)}","downstream_local_address":"${text(entry.downstreamLocalAddress)}` +
    `","downstream_remote_address":"${text(entry.downstreamRemoteAddress)}","requested_server_name":"${text(entry.requestedServerName)}` +
    `","route_name":"${entry.route === "" ? "-" : text(`${entry.route}/${entry.rule}`)}","route":"${text(entry.route)}","rule":"${text(entry.rule)}` +
    `","policy":"${text(entry.policy)}","policy_rule":"${text(entry.policyRule)}","src.identity":"${text(entry.sourceIdentity)}","tls.group":"${text(entry.tlsGroup)}"`
  );
}

function isPlainEntry(entry: RequestEntry): boolean {
  return (
    isPlain(entry.connection) &&
    isPlain(entry.method) &&
    isPlain(entry.path) &&
    isPlain(entry.protocol) &&
    isPlain(entry.authority) &&
    isPlain(entry.forwardedFor) &&
    isPlain(entry.userAgent) &&
    isPlain(entry.requestId) &&
    isPlain(entry.upstreamHost) &&
    isPlain(entry.upstreamCluster) &&
    isPlain(entry.upstreamLocalAddress) &&
    isPlain(entry.downstreamLocalAddress) &&
    isPlain(entry.downstreamRemoteAddress) &&
    isPlain(entry.requestedServerName) &&
    isPlain(entry.route) &&
    isPlain(entry.rule) &&
    isPlain(entry.policy) &&
    isPlain(entry.policyRule) &&
    isPlain(entry.sourceIdentity) &&
    isPlain(entry.tlsGroup)
  );
}

function orDash(value: string): string {
  return value === "" ? "-" : value;
}

function escaped(value: string): string {
  return value === "" ? "-" : jsonText(value).slice(1, -1);
}

function grpcStatus(status: number | undefined): string {
  return status === undefined ? "" : `,"grpc_status":${status}`;
}

function milliseconds(ms: number | undefined): string {
  return ms === undefined ? '"-"' : String(Math.round(ms));
}

function outcome(failure: Failure | undefined, held: number): string {
  const suppressed = held > 0 ? `,"suppressed":${held}` : "";
  if (failure === undefined) return `${suppressed}}`;
  return `,"code":"${failure.code}","error":${jsonText(failure.toString(), MAX_TEXT_BYTES)}${suppressed}}`;
}
