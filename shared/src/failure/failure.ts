// Pure. Every refusal and failure of Culvert has one code; this file is the one table that says what a code means to
// the caller (tunnel status, HTTP status, gRPC status, reset code), to the operator (flag, text) and to a retry.

/** At whose door the failure lies: the one who called us, the one whom we called, or we ourselves. */
export type Culprit = "downstream" | "upstream" | "us";

/** What one failure code means to each of its readers. */
export interface FailureTraits {
  readonly who: Culprit;
  /** Another endpoint, or a later try, may succeed, and nothing of the request has been acted on. */
  readonly retriable: boolean;
  /** Status answered to a CONNECT (RFC 9110 section 9.3.6), as ztunnel and Envoy understand it. */
  readonly tunnelStatus: number;
  /** Status of the local HTTP reply in the waypoint. */
  readonly httpStatus: number;
  /** gRPC status of the local reply when the request is gRPC. */
  readonly grpcStatus: number;
  /** HTTP/2 error code (RFC 9113 section 7) when an open stream must be ended. */
  readonly resetCode: number;
  /** Istio's `response_flags` value, so that dashboards keep working. */
  readonly flag: string;
  /** One sentence for the operator, without the particulars of the case. */
  readonly text: string;
}

const NO_ERROR = 0x0;
const PROTOCOL_ERROR = 0x1;
const INTERNAL_ERROR = 0x2;
const REFUSED_STREAM = 0x7;
const CANCEL = 0x8;
const CONNECT_ERROR = 0xa;
const ENHANCE_YOUR_CALM = 0xb;

function traits(
  who: Culprit,
  retriable: boolean,
  tunnelStatus: number,
  httpStatus: number,
  grpcStatus: number,
  resetCode: number,
  flag: string,
  text: string,
): FailureTraits {
  return { who, retriable, tunnelStatus, httpStatus, grpcStatus, resetCode, flag, text };
}

/** The table. Its keys are the codes of logs, metrics, the `culvert-code` header and the documentation. */
// oxfmt-ignore
export const FAILURES = {
  // The caller's request could not be accepted.
  METHOD_NOT_CONNECT: traits("downstream", false, 400, 405, 12, CANCEL, "DPE", "only CONNECT is served on the tunnel port"),
  AUTHORITY_MALFORMED: traits("downstream", false, 400, 400, 13, CANCEL, "DPE", "the authority of the tunnel request is not a plain host:port"),
  TUNNEL_REQUEST_MALFORMED: traits("downstream", false, 400, 400, 13, CANCEL, "DPE", "the tunnel request carries what CONNECT must not carry"),
  DESTINATION_NOT_MINE: traits("downstream", false, 400, 404, 12, CANCEL, "NR", "the requested address is not an address of this workload"),
  DESTINATION_UNKNOWN: traits("downstream", false, 404, 404, 12, CANCEL, "NR", "no resource knows the destination"),
  ACCOUNT_NOT_SERVED: traits("downstream", false, 404, 503, 14, CANCEL, "NR", "this waypoint serves one service account, and the destination runs as another"),
  WORKLOAD_UNKNOWN: traits("us", true, 503, 503, 14, REFUSED_STREAM, "NR", "this proxy does not know which workload it stands beside"),
  SERVICE_NOT_MINE: traits("downstream", false, 503, 503, 14, CANCEL, "NR", "the requested service or port is not served by this workload"),
  SELF_CALL: traits("downstream", false, 503, 503, 14, CANCEL, "NR", "the requested port is one of the proxy's own"),
  LOOP_DETECTED: traits("downstream", false, 508, 508, 14, CANCEL, "NR", "the request came back to a proxy that it has already passed"),
  REQUEST_MALFORMED: traits("downstream", false, 400, 400, 13, CANCEL, "DPE", "the bytes are not one well-formed request"),
  REQUEST_TOO_LARGE: traits("downstream", false, 431, 431, 8, CANCEL, "DPE", "the request head is over its limit"),
  REQUEST_TIMEOUT: traits("downstream", false, 408, 408, 4, CANCEL, "SI", "the request did not arrive before its deadline"),
  UPGRADE_REFUSED: traits("downstream", false, 501, 501, 12, CANCEL, "DPE", "the protocol that the request asks to switch to is not supported"),
  CLIENT_HELLO_REFUSED: traits("downstream", false, 400, 400, 3, CANCEL, "DPE", "routes go by the server name in the TLS ClientHello, and the connection does not begin with a well-formed one"),
  EXPECTATION_REFUSED: traits("downstream", false, 400, 417, 12, CANCEL, "DPE", "the request expects something other than 100-continue"),
  METHOD_REFUSED: traits("downstream", false, 405, 405, 12, CANCEL, "DPE", "the method is not served by a waypoint"),
  DOWNSTREAM_CLOSED: traits("downstream", false, 499, 499, 1, CANCEL, "DC", "the caller went away before the end"),
  // A policy or an identity said no.
  DENIED_BY_POLICY: traits("downstream", false, 401, 403, 7, CANCEL, "DENY", "an authorization policy refuses this caller"),
  POLICY_CHANGED: traits("downstream", false, 401, 403, 7, CANCEL, "DENY", "a policy change no longer permits this connection"),
  POLICY_NOT_UNDERSTOOD: traits("us", false, 401, 403, 7, CANCEL, "DENY", "a policy that selects this workload cannot be understood, so it denies"),
  MTLS_REQUIRED: traits("downstream", false, 401, 403, 16, CANCEL, "DENY", "this port takes mutual TLS only (PeerAuthentication STRICT), and the connection is plaintext"),
  WAYPOINT_REQUIRED: traits("downstream", false, 401, 403, 7, CANCEL, "DENY", "this workload takes connections from its waypoint only"),
  IDENTITY_MALFORMED: traits("downstream", false, 401, 403, 16, CANCEL, "IDENTITY_ERROR", "a certificate, key, bundle or SPIFFE ID is not well-formed"),
  IDENTITY_MISMATCH: traits("upstream", false, 503, 503, 14, CANCEL, "IDENTITY_ERROR", "the peer proved another identity than the expected one"),
  IDENTITY_UNTRUSTED: traits("upstream", false, 503, 503, 14, CANCEL, "TLS_FAILURE", "a certificate does not chain to the bundle of its own trust domain"),
  IDENTITY_EXPIRED: traits("upstream", false, 503, 503, 14, CANCEL, "IDENTITY_ERROR", "a certificate is outside its validity"),
  IDENTITY_REVOKED: traits("upstream", false, 503, 503, 14, CANCEL, "CERT_REVOKED", "a certificate of the peer, or of an authority above it, is revoked"),
  IDENTITY_UNAVAILABLE: traits("us", true, 503, 503, 14, REFUSED_STREAM, "IDENTITY_ERROR", "this proxy has no valid identity"),
  // The authority did not issue a certificate.
  PROOF_MISSING: traits("downstream", false, 401, 403, 16, CANCEL, "DENY", "the caller of the authority shows nothing that says who it is"),
  TOKEN_REFUSED: traits("downstream", false, 401, 403, 16, CANCEL, "DENY", "the authority does not take the caller's token"),
  TOKEN_NOT_CHECKED: traits("us", true, 503, 503, 14, REFUSED_STREAM, "UF", "the authority could not find out whether the caller's token counts"),
  IMPERSONATION_REFUSED: traits("downstream", false, 401, 403, 7, CANCEL, "DENY", "the caller of the authority asks for another identity than the one that it has proved"),
  CSR_REFUSED: traits("downstream", false, 400, 400, 3, CANCEL, "DPE", "the certificate signing request is not accepted"),
  RATE_EXCEEDED: traits("downstream", true, 429, 429, 8, ENHANCE_YOUR_CALM, "UO", "the authority is asked more often than it allows"),
  IDENTITY_NOT_GIVEN: traits("us", true, 503, 503, 14, REFUSED_STREAM, "IDENTITY_ERROR", "the source of the own identity gave nothing newer that can be used"),
  // The next hop could not be reached or went away.
  APP_REFUSED: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "UF", "the application refused the connection"),
  APP_TIMEOUT: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "UF", "the application did not accept the connection in time"),
  APP_UNREACHABLE: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "UF", "the application could not be reached"),
  APP_RESET: traits("upstream", false, 503, 503, 14, CONNECT_ERROR, "UC", "the application reset the connection"),
  APP_REFUSED_REQUEST: traits("upstream", true, 503, 503, 14, REFUSED_STREAM, "UR", "the application did not take the request (REFUSED_STREAM, GOAWAY)"),
  APP_RESET_REQUEST: traits("upstream", false, 503, 503, 14, INTERNAL_ERROR, "UR", "the application reset the request before its response was whole"),
  BACKEND_TLS_FAILURE: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "UF", "the TLS handshake with the backend failed"),
  BACKEND_UNTRUSTED: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "UF", "the backend's certificate is not what its BackendTLSPolicy asks for"),
  PEER_REFUSED: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "CONNECT", "the peer proxy refused the connection"),
  PEER_TIMEOUT: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "CONNECT", "the peer proxy did not answer in time"),
  PEER_UNREACHABLE: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "CONNECT", "the peer proxy could not be reached"),
  PEER_TLS_FAILURE: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "TLS_FAILURE", "the TLS handshake with the peer proxy failed"),
  KEY_EXCHANGE_REFUSED: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "TLS_FAILURE", "there is no key exchange that both sides accept"),
  PEER_PROTOCOL_ERROR: traits("upstream", false, 503, 502, 14, CONNECT_ERROR, "H2_HANDSHAKE_FAILURE", "the peer proxy broke the HTTP/2 protocol"),
  PEER_DENIED: traits("upstream", false, 401, 403, 7, CANCEL, "DENY", "the peer proxy denied the connection (401 or 403)"),
  PEER_BAD_REQUEST: traits("upstream", false, 400, 502, 14, CANCEL, "CONNECT", "the peer proxy did not accept the tunnel request (400)"),
  PEER_NO_DESTINATION: traits("upstream", false, 404, 503, 14, CANCEL, "NR", "the peer proxy does not know the destination (404)"),
  PEER_UNAVAILABLE: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "UF", "the peer proxy could not reach its application (5xx)"),
  PEER_REFUSED_STREAM: traits("upstream", true, 503, 503, 14, REFUSED_STREAM, "CONNECT", "the peer proxy did not take the stream"),
  PEER_RESET: traits("upstream", false, 503, 503, 14, CONNECT_ERROR, "UR", "the peer proxy reset the stream"),
  PEER_LOST: traits("upstream", false, 503, 503, 14, CONNECT_ERROR, "UC", "the connection to the peer proxy was lost"),
  NO_HEALTHY_UPSTREAM: traits("upstream", true, 503, 503, 14, REFUSED_STREAM, "UH", "the service has no endpoint that may be used"),
  WAYPOINT_UNAVAILABLE: traits("upstream", true, 503, 503, 14, REFUSED_STREAM, "UH", "the destination must be reached through a waypoint that has no instance"),
  UPSTREAM_TIMEOUT: traits("upstream", false, 504, 504, 4, CANCEL, "UT", "the upstream did not answer before the request's deadline"),
  UPSTREAM_RESPONSE_MALFORMED: traits("upstream", false, 502, 502, 14, CANCEL, "UPE", "the upstream's bytes are not a well-formed response"),
  UPSTREAM_RESPONSE_TRUNCATED: traits("upstream", false, 503, 503, 14, CANCEL, "UC", "the upstream ended before its response was whole"),
  CONFIGURATION_UNAVAILABLE: traits("us", true, 503, 503, 14, REFUSED_STREAM, "NC", "the authority has not said in time what the destination is"),
  // Routing.
  ROUTE_NOT_FOUND: traits("downstream", false, 404, 404, 12, CANCEL, "NR", "routes are attached to the service and none matches the request"),
  ROUTE_NOT_UNDERSTOOD: traits("us", false, 500, 500, 14, CANCEL, "NC", "the route that serves this request cannot be understood"),
  BACKEND_INVALID: traits("us", false, 500, 500, 14, CANCEL, "NC", "the chosen backend does not exist or cannot be used"),
  FAULT_INJECTED: traits("us", false, 503, 503, 14, CANCEL, "FI", "a route answers so on purpose, to test how its callers fare"),
  BACKEND_TLS_INVALID: traits("us", false, 500, 500, 14, CANCEL, "NC", "a BackendTLSPolicy asks for TLS to the backend and cannot be used, so nothing is sent there"),
  EGRESS_REFUSED: traits("downstream", false, 403, 403, 7, CANCEL, "NR", "no resource allows this destination, and what none allows is refused"),
  DNS_UPSTREAM_FAILED: traits("upstream", true, 503, 503, 14, CONNECT_ERROR, "UF", "no DNS resolver answered"),
  // Our own limits and states.
  TOO_MANY_CONNECTIONS: traits("us", true, 503, 503, 8, REFUSED_STREAM, "UO", "the proxy holds as many connections as it may"),
  OVERLOADED: traits("us", true, 503, 503, 8, REFUSED_STREAM, "UO", "stalled tunnels may hold as much memory as they may"),
  IDLE_TIMEOUT: traits("us", false, 503, 504, 4, CANCEL, "UT", "the connection has carried nothing for its idle timeout"),
  LIFETIME_REACHED: traits("us", false, 503, 503, 14, CANCEL, "UO", "the connection has reached its maximum lifetime"),
  TENANT_OVER_SHARE: traits("downstream", true, 503, 429, 8, REFUSED_STREAM, "RL", "the caller's namespace or account holds as much as its share of the proxy: requests, or connections to endpoints"),
  TOO_MANY_WAITERS: traits("us", true, 503, 503, 8, REFUSED_STREAM, "UO", "too many connections wait for a tunnel to this peer"),
  MEMORY_SHORT: traits("us", true, 503, 503, 8, REFUSED_STREAM, "OM", "the proxy has nearly used the memory that it may have"),
  MISBEHAVING_PEER: traits("downstream", false, 429, 429, 8, ENHANCE_YOUR_CALM, "OM", "the peer spent its budget of misbehaviour"),
  DRAINING: traits("us", true, 503, 503, 14, REFUSED_STREAM, "UO", "the proxy is shutting down"),
  PROXY_REQUEST_MALFORMED: traits("downstream", false, 400, 400, 13, CANCEL, "DPE", "the bytes on the explicit proxy port are neither CONNECT nor SOCKS5"),
  PROXY_HEADER_MALFORMED: traits("downstream", false, 400, 400, 13, CANCEL, "DPE", "the connection must begin with a well-formed PROXY protocol v2 header"),
  PORT_UNAVAILABLE: traits("us", false, 503, 503, 14, INTERNAL_ERROR, "LR", "a port could not be bound"),
  SOCKET_OPTION_REFUSED: traits("us", false, 503, 503, 14, INTERNAL_ERROR, "LR", "the system does not allow a socket option that the configuration needs"),
  INTERNAL: traits("us", false, 500, 500, 13, INTERNAL_ERROR, "LR", "a defect of the proxy; please report it"),
} as const satisfies Record<string, FailureTraits>;

/** One stable code, upper snake case. */
export type FailureCode = keyof typeof FAILURES;

// HTTP/2 codes (RFC 9113 section 7) for those who end a stream without a failure to name, or judge how a peer has ended one.
export const RESET_NO_ERROR = NO_ERROR;
export const RESET_PROTOCOL_ERROR = PROTOCOL_ERROR;
export const RESET_INTERNAL_ERROR = INTERNAL_ERROR;
export const RESET_REFUSED_STREAM = REFUSED_STREAM;
export const RESET_CANCEL = CANCEL;
export const RESET_CONNECT_ERROR = CONNECT_ERROR;
export const RESET_ENHANCE_YOUR_CALM = ENHANCE_YOUR_CALM;

/** A failure as a value: a code and the particulars of the case. Never thrown by Culvert's own code. */
export class Failure {
  readonly code: FailureCode;
  /** The particulars, for the operator; holds no secret. */
  readonly detail: string;
  /** The code that the peer gave for its own failure, where it gave one of this table. */
  readonly told: FailureCode | undefined;

  constructor(code: FailureCode, detail: string, told?: FailureCode) {
    this.code = code;
    this.detail = detail;
    this.told = told;
  }

  get traits(): FailureTraits {
    return FAILURES[this.code];
  }

  /** The `error` text of a log line: what the code means, then the particulars. */
  toString(): string {
    return this.detail === "" ? this.traits.text : `${this.traits.text}: ${this.detail}`;
  }
}

/** Makes a failure value. `detail` names the place and what was found. */
export function fail(code: FailureCode, detail: string): Failure {
  return new Failure(code, detail);
}

/** Whether a text, such as a header of a peer, is one of the codes. */
export function isFailureCode(text: unknown): text is FailureCode {
  return typeof text === "string" && Object.hasOwn(FAILURES, text);
}

/** Tells a failure from a result. */
export function isFailure(value: unknown): value is Failure {
  return value instanceof Failure;
}
