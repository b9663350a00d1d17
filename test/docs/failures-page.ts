// Pure. `docs/failures.md`: one row a failure code, made from the table that the programs use, and what to do about each.
import { FAILURES } from "@culvert/shared/failure/failure.ts";
import type { Culprit, FailureCode, FailureTraits } from "@culvert/shared/failure/failure.ts";

/** What an operator does about each code. A new code does not compile before it has its advice. */
export const ADVICE: Readonly<Record<FailureCode, string>> = {
  METHOD_NOT_CONNECT:
    "Something speaks plain HTTP/2 to the tunnel port. Let it call the service's own port; only proxies speak to 15008.",
  AUTHORITY_MALFORMED:
    "The caller's proxy sent an authority that is no `host:port`. Look at its version; zones, userinfo, a missing port and unusual spellings of addresses are refused on purpose.",
  TUNNEL_REQUEST_MALFORMED:
    "The caller's proxy broke RFC 9113 section 8.5 or a limit of `docs/configuration.md`. Look at its version.",
  DESTINATION_NOT_MINE:
    "The caller's view is stale (the address has moved to another workload), or somebody tries this proxy as a relay. Compare the entry with what `uproxy explain --to` says at the caller.",
  DESTINATION_UNKNOWN:
    "Add the Service or WorkloadEntry, or correct the name: `GET /config_dump` shows what the proxy has read.",
  ACCOUNT_NOT_SERVED:
    "A waypoint of placement `service-account` leads to workloads of its own account alone. Give the Service, or the backend of the route, another waypoint, or correct the account of the WorkloadEntry or `istio.io/for-service-account` of the Gateway.",
  WORKLOAD_UNKNOWN:
    "No WorkloadEntry has this proxy's service account and one of its addresses. Add one, or name it by `workload:` in `uproxy.yaml`.",
  SERVICE_NOT_MINE:
    "The caller's view is stale, or the Service's selector or target port does not reach this workload. Compare both in `GET /config_dump`.",
  SELF_CALL: "The destination is a port of the proxy itself. Use the application's port.",
  LOOP_DETECTED:
    "A waypoint routes to a service whose waypoint routes back. Look at the routes named in the log lines of this request id.",
  REQUEST_MALFORMED:
    "The client's bytes are ambiguous or no HTTP. If the port does not carry HTTP, say so: `appProtocol: tcp` on the Service port.",
  REQUEST_TOO_LARGE: "The request's head is over the limit, mostly cookies. Shorten it.",
  REQUEST_TIMEOUT: "The client was too slow to send its request. If that is usual for it, look at the network between.",
  UPGRADE_REFUSED:
    "The client asked to switch to a protocol that a waypoint does not carry. Name it under `upgrades` in `waypoint.yaml`, or declare the port `appProtocol: tcp` if it must pass.",
  CLIENT_HELLO_REFUSED:
    "A TLSRoute is attached to the port, so its connections must begin with TLS. Take the route away, or use a TCPRoute, if something else is spoken there; the detail says what came instead.",
  EXPECTATION_REFUSED: "The client sent an `Expect` other than `100-continue`; no server needs to know one.",
  METHOD_REFUSED: "CONNECT and TRACE are not served by a waypoint.",
  DOWNSTREAM_CLOSED:
    "The client gave up, often because its own timeout is shorter than the server's answer. Compare `duration` with that timeout.",
  DENIED_BY_POLICY:
    "The line names `policy` and `policy_rule`; without a name, ALLOW policies exist and none matched. `uproxy explain --inbound` (or `waypoint explain --request`) shows for each policy which field did not hold.",
  POLICY_CHANGED:
    "As DENIED_BY_POLICY: a policy that was changed while the connection was open no longer lets it pass.",
  POLICY_NOT_UNDERSTOOD:
    "The detail names file, line and field. Until the policy is understood it denies everything that it selects, so correct or remove it first.",
  MTLS_REQUIRED:
    "The caller has no uproxy, or its uproxy does not know that this workload is in the mesh. Put it into the mesh, or let plaintext into this port by a PeerAuthentication with `portLevelMtls` PERMISSIVE.",
  WAYPOINT_REQUIRED:
    "The workload has `culvert.dev/require-waypoint`. The caller bypassed the waypoint: see whether it knows the label `istio.io/use-waypoint` (`uproxy explain --to` at the caller). While that label changes it is no failure: who was refused asks again (docs/placement.md).",
  IDENTITY_MALFORMED:
    "The detail says what is wrong and whose it is. A certificate must carry exactly one URI name, a SPIFFE ID, and a key must be that of its certificate. Look at what issued it.",
  IDENTITY_MISMATCH:
    "Another workload answers at this address: the entry is stale, its `serviceAccount` is wrong, or somebody impersonates it. The detail names both identities.",
  IDENTITY_UNTRUSTED:
    "The bundle of the peer's own trust domain is missing or has other roots: compare `GET /certificates` at both ends. During a change of roots, distribute the new root before it signs.",
  IDENTITY_EXPIRED:
    "Renewal has stopped, or a clock is wrong. Look at what writes the identity folder, and at `culvert_certificate_expiration_timestamp_seconds`.",
  IDENTITY_REVOKED:
    "A revocation list in use holds the serial number that the detail names: give the workload a new certificate. If it was a mistake, the issuer has to publish a newer list without it.",
  IDENTITY_UNAVAILABLE:
    "This proxy has no certificate that is valid. Look at the identity folder and at the log lines that begin with `identity`.",
  IDENTITY_NOT_GIVEN:
    "Look at /certificates (source, last failure) and at the authority or the agent; what is in use stays in use until it ends.",
  PROOF_MISSING:
    "The caller sent neither a token nor a client certificate. Give it a token: `authority token create`, or the projected token of its service account.",
  TOKEN_REFUSED:
    "The detail in the authority's audit says why: unknown, revoked, expired or used, or which claim of a Kubernetes token was wrong. Make a new token, or correct `kubernetes.issuer` and `kubernetes.audience`.",
  TOKEN_NOT_CHECKED:
    "The authority cannot reach the API server, or may not make TokenReviews (`system:auth-delegator`). Callers try again by themselves.",
  IMPERSONATION_REFUSED:
    "A node agent asks for certificates of its pods. This authority certifies who has proved itself; run the agent in its dedicated mode, or give each workload its own token.",
  CSR_REFUSED:
    "The detail says what is wrong with the request. Keys are P-256 or P-384; for Istio's agents set `ECC_SIGNATURE_ALGORITHM=ECDSA`.",
  RATE_EXCEEDED:
    "The detail says who asks. If it is honest, look for an agent that cannot keep what it was given and asks again and again.",
  APP_REFUSED:
    "Nothing listens on the application's port. Is the application up, and on the address that `inbound.app` says?",
  APP_TIMEOUT: "The application's host does not answer, or its accept queue is full.",
  APP_UNREACHABLE:
    "The application's address cannot be reached from the proxy: look at `inbound.app` and at the address of its entry.",
  APP_RESET:
    "The application ended the connection by a reset. Its own log says why; crashes and idle timeouts shorter than the client's are common.",
  APP_REFUSED_REQUEST:
    "The application speaks HTTP/2 and turned the request away unread, by REFUSED_STREAM or by a GOAWAY that leaves it out: it is restarting, or takes fewer requests at once than it was sent. Requests without a body have been tried once more.",
  APP_RESET_REQUEST:
    "The application speaks HTTP/2 and reset the request; the detail has its error code. Its own log says why.",
  BACKEND_TLS_FAILURE:
    "The port may not speak TLS, or the two have no version or cipher in common: TLS 1.2 is the least. Try `openssl s_client` from beside the application.",
  BACKEND_UNTRUSTED:
    "The detail has OpenSSL's verdict (expired, unknown issuer), or the names in the certificate beside the ones that were asked for. Correct `validation` of the policy, or give the backend another certificate.",
  PEER_REFUSED:
    "No proxy listens at the peer's tunnel port: is it up, and is `culvert.dev/hbone-port` right? A workload without a proxy needs `istio.io/dataplane-mode: none`.",
  PEER_TIMEOUT: "The peer's proxy cannot be reached in time: a firewall that drops port 15008, or a host that is gone.",
  PEER_UNREACHABLE: "There is no way to the peer's address: routes, firewalls, a stale entry.",
  PEER_TLS_FAILURE:
    "The detail has TLS's own words. Most often: the peer does not trust this proxy's certificate, or something else than a proxy listens there.",
  KEY_EXCHANGE_REFUSED:
    "One side has `compliance: pqc` and the other does not know X25519MLKEM768: give the other a version that does, or take the key away.",
  PEER_PROTOCOL_ERROR: "The peer's proxy sent what HTTP/2 forbids. Look at its version; the detail names the frame.",
  PEER_DENIED:
    "Policy at the peer refuses this caller. Its log line has the policy; here, `culvert-code` in the detail says more if the peer is Culvert.",
  PEER_BAD_REQUEST:
    "The peer's proxy does not take the address for its own: this proxy's view of the mesh is stale, or the two disagree about it.",
  PEER_NO_DESTINATION:
    "The peer's proxy or waypoint does not know the destination: compare the resources at both ends.",
  PEER_UNAVAILABLE:
    "The peer's proxy could not reach its application; its log has the reason under this connection's time.",
  PEER_REFUSED_STREAM:
    "The peer was draining or full. Tried again by itself where that is safe; if it stays, look at the peer's limits.",
  PEER_RESET: "The peer's proxy ended the stream, mostly because its application ended the connection by a reset.",
  PEER_LOST:
    "The session to the peer's proxy ended: it crashed, was killed, or the network went. Connections in it cannot be saved.",
  NO_HEALTHY_UPSTREAM:
    "The service has no endpoint: does its selector match labels of any WorkloadEntry, and are those healthy?",
  CONFIGURATION_UNAVAILABLE:
    "The proxy asks the authority for its destinations, and got no answer for a new one: see `culvert_configuration_connected`, the lines of the log that speak of the configuration stream, and the authority. Destinations that are in use go on.",
  WAYPOINT_UNAVAILABLE:
    "The destination names a waypoint of which no instance is known. Traffic fails closed rather than go around it: start one, or remove the label `istio.io/use-waypoint`.",
  UPSTREAM_TIMEOUT:
    "The application took longer than the route's `timeouts` allow. Raise them or look at the application.",
  UPSTREAM_RESPONSE_MALFORMED:
    "The application's answer is ambiguous or no HTTP. If the port does not carry HTTP: `appProtocol: tcp`.",
  UPSTREAM_RESPONSE_TRUNCATED:
    "The application closed before its answer was whole: a crash, or a wrong content-length.",
  ROUTE_NOT_FOUND:
    "The service has routes and none matches. Add a rule without matches for the rest, or correct the matches: `waypoint explain --request` shows which were tried.",
  ROUTE_NOT_UNDERSTOOD:
    "The detail names file, line and field. What the route matches is answered 500 until it is corrected.",
  BACKEND_INVALID: "A `backendRef` names a Service or port that does not exist, or a kind that cannot be served.",
  FAULT_INJECTED:
    "A fault of an HTTPFilter has hit the request, as the filter's percentage says. Remove the filter when the trial is over.",
  BACKEND_TLS_INVALID:
    "The detail names the policy and what is missing, mostly the ConfigMap of its certificates. Nothing goes to its Service until it is corrected or removed.",
  EGRESS_REFUSED:
    "The destination is in no resource and `outbound.unknown` is `refuse`, or its ServiceEntry does not list the port or is not understood. Add a ServiceEntry or the port, or let unknown destinations pass.",
  DNS_UPSTREAM_FAILED:
    "A name that is not the mesh's could not be resolved. The detail names the resolver: is it up, and is it the right one (`nameserver` in /etc/resolv.conf, or `dns.upstream`)?",
  TOO_MANY_CONNECTIONS: "The proxy is full. Add an instance, or raise the limit if there is memory for it.",
  OVERLOADED:
    "Many readers do not read: `limits.stalledBudget` says how much their bytes may hold. Look for apps that hang.",
  IDLE_TIMEOUT: "`limits.connectionIdle` asks for it. The app should keep its connection alive, or open a new one.",
  LIFETIME_REACHED: "`limits.maxConnectionAge` asks for it. The app should open a new connection.",
  TOO_MANY_WAITERS:
    "Connections wait for a peer that does not take them: look at the codes of that peer's other lines.",
  TENANT_OVER_SHARE:
    "`culvert_tenant_refused_total` says what was over the share, `culvert_tenant_requests` who holds how many. Their endpoints are slow or their callers many: look at both, or raise `tenants.requests` in `waypoint.yaml`. Other tenants are not affected.",
  MEMORY_SHORT:
    "New streams are refused from 85 % on. Give the container more memory, or lower the limits of streams and windows.",
  MISBEHAVING_PEER:
    "The peer sent more resets, pings or malformed frames than any sane one does, and its session was ended. Look at who it is.",
  DRAINING:
    "The proxy is shutting down. Callers should have gone elsewhere; if many see this, lengthen the time between readiness and the end.",
  PROXY_REQUEST_MALFORMED:
    "The client does not speak HTTP CONNECT or SOCKS5 to the proxy port. Look at its proxy setting.",
  PROXY_HEADER_MALFORMED:
    "The listener has `proxyProtocol: v2` and the client sends no such header, or version 1. In HAProxy it is `send-proxy-v2`.",
  PORT_UNAVAILABLE: "Another process has the port, or it may not be bound. The detail names the address; exit code 4.",
  SOCKET_OPTION_REFUSED:
    "Transparent capture needs Linux, and its mark mode, a kept source address and TPROXY need a capability, which the detail names.",
  INTERNAL: "A defect of Culvert. Please report it with the log line.",
};

const WHO: Readonly<Record<Culprit, string>> = { downstream: "caller", upstream: "callee", us: "Culvert" };

/** The names of gRPC's status codes that the table uses. */
const GRPC: Readonly<Record<number, string>> = {
  1: "CANCELLED",
  3: "INVALID_ARGUMENT",
  4: "DEADLINE_EXCEEDED",
  7: "PERMISSION_DENIED",
  8: "RESOURCE_EXHAUSTED",
  12: "UNIMPLEMENTED",
  13: "INTERNAL",
  14: "UNAVAILABLE",
  16: "UNAUTHENTICATED",
};

/** The page. */
export function failuresPage(): string {
  const rows = Object.entries(FAILURES) as [FailureCode, FailureTraits][];
  return [INTRODUCTION, ...rows.map(([code, traits]) => row(code, traits)), ""].join("\n");
}

function row(code: FailureCode, traits: FailureTraits): string {
  const grpc = GRPC[traits.grpcStatus];
  if (grpc === undefined) throw new Error(`gRPC status ${traits.grpcStatus} has no name here`);
  return [
    "",
    `\`${code}\``,
    WHO[traits.who],
    traits.retriable ? "yes" : "no",
    traits.tunnelStatus,
    traits.httpStatus,
    grpc,
    `\`${traits.flag}\``,
    traits.text,
    ADVICE[code],
    "",
  ]
    .join(" | ")
    .trim();
}

const INTRODUCTION = `# Failure codes

<!-- Generated by \`node test/docs/generate.ts\` from shared/src/failure/failure.ts and test/docs/failures-page.ts. Edit those. -->

Every refusal and failure has one code. It stands in the log (\`code\`, with the particulars in \`error\`), in the metric
\`culvert_failures_total{code}\`, in the header \`culvert-code\` of a refused tunnel request, and here.

- **who**: at whose door it lies: the *caller*, the *callee*, or *Culvert* itself and its configuration.
- **again**: whether another endpoint or a later try may succeed, nothing of the request having been acted on.
- **tunnel**, **HTTP**, **gRPC**: what the caller's proxy, an HTTP client and a gRPC client are answered. A client that speaks TCP
  gets a reset.
- **flag**: Istio's \`response_flags\` in metrics and request logs.

| code | who | again | tunnel | HTTP | gRPC | flag | meaning | what to do |
|---|---|---|---|---|---|---|---|---|`;
