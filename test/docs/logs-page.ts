// Pure. `docs/logs.md`: the keys of every kind of log line and what they mean. `logs.test.ts` holds them to the lines.

/** A key and what it means. */
export type KeyMeaning = readonly [key: string, meaning: string];

/** Keys of a connection's line. */
export const CONNECTION_KEYS: readonly KeyMeaning[] = [
  ["time", "end of the connection, ISO 8601"],
  ["level", "`info`, or `error` when it failed"],
  ["target", "`access`"],
  ["connection", "id of the connection, as `GET /connections` shows it"],
  ["direction", "`inbound`: from the mesh to the application; `outbound`: from the application"],
  ["src.addr", "address and port of the client"],
  ["src.workload", "its workload"],
  ["src.namespace", "its namespace"],
  ["src.identity", "its SPIFFE ID, proved by mutual TLS"],
  ["dst.addr", "address and port of the server"],
  ["dst.workload", "its workload"],
  ["dst.namespace", "its namespace"],
  ["dst.identity", "its SPIFFE ID, proved by mutual TLS"],
  ["dst.hbone_addr", "address and port of the tunnel listener"],
  ["dst.service", "hostname of the service that was asked for"],
  ["tls.group", "key group of the tunnel's TLS session: `X25519MLKEM768`, `X25519` or `P-256`"],
  ["requested_server_name", "the name in the TLS ClientHello, where a TLSRoute had it read"],
  ["route", "the TCPRoute or TLSRoute that served the connection, `namespace/name`"],
  ["rule", "its rule: name, or `rules[n]`"],
  ["bytes_sent", "bytes from the server to the client"],
  ["bytes_recv", "bytes from the client to the server"],
  ["duration_ms", "milliseconds from accept to end"],
  ["policy", "the AuthorizationPolicy that decided, `namespace/name`"],
  ["policy_rule", "its rule, `rules[n]`"],
  ["dry_run", "what dry-run policies would have done, where they would have changed something"],
  ["code", "[failure code](failures.md), when it failed"],
  ["error", "what the code means, and the particulars"],
  ["suppressed", "how many lines of this code were held back before this one"],
];

/** Keys of a request's line. */
export const REQUEST_KEYS: readonly KeyMeaning[] = [
  ["start_time", "when the request's head was complete, ISO 8601"],
  ["level", "`info`, or `error` when Culvert refused it or it failed"],
  ["target", "`access`"],
  ["connection", "id of the tunnel that it came through"],
  ["method", "as sent"],
  ["path", "as decided on and forwarded; as sent when it could not be understood"],
  ["protocol", "`HTTP/1.1`"],
  ["authority", "host, with the port if one was sent"],
  ["response_code", "status that the client got; `0` for none"],
  ["grpc_status", "of a gRPC call: the `grpc-status` that the client got, absent when none came"],
  ["response_flags", "`-`, or the flag of the failure code"],
  ["response_code_details", "`via_upstream`, or the failure code in lower case"],
  ["connection_termination_details", "particulars, when the failure was the caller's"],
  ["upstream_transport_failure_reason", "particulars, when the failure was the callee's"],
  ["bytes_received", "bytes of the request's body"],
  ["bytes_sent", "bytes of the response's body"],
  ["duration", "milliseconds from the request's head to the end of the response"],
  ["upstream_service_time", "milliseconds from the request given to the endpoint to the head of its response"],
  ["x_forwarded_for", "as received"],
  ["user_agent", "as received"],
  ["request_id", "`x-request-id`, received or made"],
  ["upstream_host", "address and port of the endpoint"],
  ["upstream_cluster", "the backend"],
  ["upstream_local_address", "own end of the connection to the endpoint"],
  ["downstream_local_address", "the address that the client's proxy called"],
  ["downstream_remote_address", "address and port of the client"],
  ["requested_server_name", "server name of TLS; tunnels have none"],
  ["route_name", "route and rule in one"],
  ["route", "the HTTPRoute, `namespace/name`"],
  ["rule", "its rule: name, or `rules[n]`"],
  ["policy", "the AuthorizationPolicy that decided, `namespace/name`"],
  ["policy_rule", "its rule, `rules[n]`"],
  ["dry_run", "what dry-run policies would have done, where they would have changed something"],
  ["src.identity", "SPIFFE ID of the caller, proved by mutual TLS"],
  ["tls.group", "key group of the caller's TLS session: `X25519MLKEM768`, `X25519` or `P-256`"],
  ["code", "[failure code](failures.md), when it failed"],
  ["error", "what the code means, and the particulars"],
  ["suppressed", "how many lines of this code were held back before this one"],
];

/** Keys of a line of the authority's audit. */
export const AUDIT_KEYS: readonly KeyMeaning[] = [
  ["time", "ISO 8601"],
  ["level", "`info`, or `warn` for a refusal"],
  ["target", "`audit`"],
  ["outcome", "`issued` or `refused`"],
  ["method", "`CreateCertificate` or `WatchTrust`"],
  ["remote", "address and port of the caller"],
  ["proof", "what has proved the identity: `join-token`, `kubernetes` or `certificate`; absent where nothing has"],
  ["proof_by", "which one: id of the join token, pod of the service account token, serial number of the certificate"],
  ["identity", "the SPIFFE ID that was proved"],
  ["serial", "serial number of the certificate that was issued"],
  ["not_after", "its end, ISO 8601"],
  ["duration_ms", "milliseconds from the call to the decision"],
  ["code", "[failure code](failures.md), when it was refused"],
  ["error", "what the code means, and the particulars, which the caller is not told"],
  ["suppressed", "how many refusals of this code were held back before this one; certificates always have their line"],
];

/** Keys that every other line has. */
export const EVENT_KEYS: readonly KeyMeaning[] = [
  ["time", "ISO 8601"],
  ["level", "`debug`, `info`, `warn` or `error`"],
  ["message", "what happened, in words that stay the same"],
  ["code", "[failure code](failures.md), when something failed"],
  ["error", "what the code means, and the particulars"],
  ["suppressed", "how many lines of this message were held back before this one"],
];

/** The page. */
export function logsPage(): string {
  return [
    INTRODUCTION,
    "## Connections\n",
    "One line at the end of each connection of a uproxy, and of a waypoint where it passes TCP. What is not known is left out.\n",
    table(CONNECTION_KEYS),
    "",
    "## Requests\n",
    "One line at the end of each request of a waypoint. What is not known or does not apply is `-`.\n",
    table(REQUEST_KEYS),
    "",
    "## Certificates of the authority\n",
    "One line for each certificate that is issued, and for each call that is refused.\n",
    table(AUDIT_KEYS),
    "",
    "## Everything else\n",
    "Named fields beside these keys depend on the message.\n",
    table(EVENT_KEYS),
    "",
  ].join("\n");
}

function table(keys: readonly KeyMeaning[]): string {
  return ["| key | meaning |", "|---|---|", ...keys.map(([key, meaning]) => `| \`${key}\` | ${meaning} |`)].join("\n");
}

const INTRODUCTION = `# Logs

<!-- Generated by \`node test/docs/generate.ts\` from test/docs/logs-page.ts. Edit that. -->

JSON lines on stdout, one object a line.

- **What is written**: \`log.level\` chooses among events, \`log.access\` among connections and requests: \`all\`, \`failures\`, \`off\`, or a
  share such as \`0.01\`, which is of those that succeeded (failures are written always). \`POST /logging?level=debug\` changes the level
  of a running process.
- **One event is one line.** Control characters, separators that some readers take for line ends, and characters that change the
  direction of text are escaped. A field that comes from outside is cut at 256 bytes and a message or error at 1,024; a cut ends in \`…\`.
- **Never in the way.** Lines are gathered and written together, after 64 KiB or 100 ms. When nobody reads stdout, up to 1 MiB waits,
  and what comes then is dropped and counted (\`culvert_log_lines_dropped_total\`).
- **Floods**: of one failure code at most 1,000 lines a second are written, of one message 100. The next line says how many were held
  back (\`suppressed\`), and \`culvert_log_lines_suppressed_total\` counts them.
- **No secret** is ever written.
`;
