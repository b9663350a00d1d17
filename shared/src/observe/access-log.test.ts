import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fail } from "../failure/failure.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { AccessLog } from "./access-log.ts";
import type { AccessMode, ConnectionEntry, RequestEntry } from "./access-log.ts";

function accessLog(mode: AccessMode, random?: () => number) {
  const lines: string[] = [];
  const clock = new FakeClock();
  const write = (line: string): void => void lines.push(line);
  const log = new AccessLog(random === undefined ? { mode, clock, write } : { mode, clock, write, random });
  return { log, lines, clock, last: () => JSON.parse(lines.at(-1) ?? "") as Record<string, unknown> };
}

const CONNECTION: ConnectionEntry = {
  connection: "c-1",
  direction: "inbound",
  source: {
    address: "10.0.0.7:41000",
    workload: "client-1",
    namespace: "default",
    identity: "spiffe://cluster.local/ns/default/sa/client",
  },
  destination: {
    address: "10.0.0.5:9080",
    workload: "reviews-1",
    namespace: "default",
    identity: "spiffe://cluster.local/ns/default/sa/reviews",
  },
  hboneAddress: "10.0.0.5:15008",
  service: "reviews.default.svc.cluster.local",
  tlsGroup: "X25519MLKEM768",
  bytesSent: 20,
  bytesReceived: 10,
  durationMs: 12.4,
  failure: undefined,
  policy: "default/allow",
  policyRule: "rules[0]",
};

const REQUEST: RequestEntry = {
  connection: "c-1",
  startTime: Date.UTC(2026, 0, 1),
  method: "GET",
  path: "/reviews/1?x=y",
  protocol: "HTTP/1.1",
  authority: "reviews:9080",
  responseCode: 200,
  grpcStatus: undefined,
  failure: undefined,
  bytesReceived: 0,
  bytesSent: 10,
  durationMs: 3.6,
  upstreamServiceMs: 2,
  forwardedFor: "10.0.0.7",
  userAgent: "curl/8",
  requestId: "b6e6e4a0",
  upstreamHost: "10.0.0.5:9080",
  upstreamCluster: "default/reviews:9080",
  upstreamLocalAddress: "",
  downstreamLocalAddress: "10.0.0.9:15008",
  downstreamRemoteAddress: "10.0.0.7:41000",
  requestedServerName: "",
  route: "default/reviews",
  rule: "rules[0]",
  policy: "",
  policyRule: "",
  sourceIdentity: "spiffe://cluster.local/ns/default/sa/client",
  tlsGroup: "X25519MLKEM768",
};

describe("a connection", () => {
  it("is one line with ztunnel's keys", () => {
    const { log, last } = accessLog("all");
    log.connection(CONNECTION);
    assert.deepEqual(last(), {
      time: "2026-01-01T00:00:00.000Z",
      level: "info",
      target: "access",
      connection: "c-1",
      direction: "inbound",
      "src.addr": "10.0.0.7:41000",
      "src.workload": "client-1",
      "src.namespace": "default",
      "src.identity": "spiffe://cluster.local/ns/default/sa/client",
      "dst.addr": "10.0.0.5:9080",
      "dst.workload": "reviews-1",
      "dst.namespace": "default",
      "dst.identity": "spiffe://cluster.local/ns/default/sa/reviews",
      "dst.hbone_addr": "10.0.0.5:15008",
      "dst.service": "reviews.default.svc.cluster.local",
      "tls.group": "X25519MLKEM768",
      bytes_sent: 20,
      bytes_recv: 10,
      duration_ms: 12,
      policy: "default/allow",
      policy_rule: "rules[0]",
    });
  });

  it("says how it failed, and leaves out what is not known", () => {
    const { log, last } = accessLog("all");
    const unknown = { address: "10.0.0.7:41000", workload: undefined, namespace: undefined, identity: undefined };
    log.connection({
      ...CONNECTION,
      source: unknown,
      service: undefined,
      policy: undefined,
      policyRule: undefined,
      failure: fail("DENIED_BY_POLICY", "allow policies exist, but none allowed"),
    });
    const line = last();
    assert.equal(line["level"], "error");
    assert.equal(line["code"], "DENIED_BY_POLICY");
    assert.equal(line["error"], "an authorization policy refuses this caller: allow policies exist, but none allowed");
    for (const key of ["src.identity", "src.workload", "dst.service", "policy"]) assert(!(key in line), key);
  });
});

describe("a request", () => {
  it("is one line with Istio's keys and ours; what is unset is -", () => {
    const { log, last } = accessLog("all");
    log.request(REQUEST);
    assert.deepEqual(last(), {
      start_time: "2026-01-01T00:00:00.000Z",
      level: "info",
      target: "access",
      connection: "c-1",
      method: "GET",
      path: "/reviews/1?x=y",
      protocol: "HTTP/1.1",
      authority: "reviews:9080",
      response_code: 200,
      response_flags: "-",
      response_code_details: "via_upstream",
      connection_termination_details: "-",
      upstream_transport_failure_reason: "-",
      bytes_received: 0,
      bytes_sent: 10,
      duration: 4,
      upstream_service_time: 2,
      x_forwarded_for: "10.0.0.7",
      user_agent: "curl/8",
      request_id: "b6e6e4a0",
      upstream_host: "10.0.0.5:9080",
      upstream_cluster: "default/reviews:9080",
      upstream_local_address: "-",
      downstream_local_address: "10.0.0.9:15008",
      downstream_remote_address: "10.0.0.7:41000",
      requested_server_name: "-",
      route_name: "default/reviews/rules[0]",
      route: "default/reviews",
      rule: "rules[0]",
      policy: "-",
      policy_rule: "-",
      "src.identity": "spiffe://cluster.local/ns/default/sa/client",
      "tls.group": "X25519MLKEM768",
    });
  });

  it("says how it failed and on whose side", () => {
    const { log, last } = accessLog("all");
    log.request({
      ...REQUEST,
      responseCode: 503,
      upstreamServiceMs: undefined,
      failure: fail("APP_REFUSED", "10.0.0.5"),
    });
    assert.equal(last()["response_flags"], "UF");
    assert.equal(last()["response_code_details"], "app_refused");
    assert.equal(last()["upstream_transport_failure_reason"], "10.0.0.5");
    assert.equal(last()["connection_termination_details"], "-");
    assert.equal(last()["upstream_service_time"], "-");
    assert.equal(last()["code"], "APP_REFUSED");
    log.request({ ...REQUEST, responseCode: 0, failure: fail("DOWNSTREAM_CLOSED", "reset") });
    assert.equal(last()["connection_termination_details"], "reset");
    assert.equal(last()["upstream_transport_failure_reason"], "-");
  });

  it("stays one line whatever the client puts into it", () => {
    const { log, lines, last } = accessLog("all");
    const evil = '"}\r\n{"target":"access"}\u2028\u001b[2J';
    log.request({
      ...REQUEST,
      userAgent: evil,
      path: "/".repeat(65_536),
      method: evil,
      authority: evil,
      requestId: evil,
    });
    assert.equal(lines.length, 1);
    for (const bad of ["\r", "\n", "\u2028", "\u001b"]) assert(!lines[0]?.includes(bad));
    assert.equal(last()["user_agent"], evil);
    assert(Buffer.byteLength(String(last()["path"])) <= 256);
  });
});

it("tells what dry-run policies would have done", () => {
  const { log, last } = accessLog("all");
  const dryRun = ["default/a would deny: rules[0]", "default/b would deny: no rule matches"];
  log.connection({ ...CONNECTION, dryRun });
  assert.equal(last()["dry_run"], "default/a would deny: rules[0]; default/b would deny: no rule matches");
  log.request({ ...REQUEST, dryRun });
  assert.equal(last()["dry_run"], "default/a would deny: rules[0]; default/b would deny: no rule matches");
  log.request({ ...REQUEST, dryRun: [] });
  assert(!("dry_run" in last()));
});

describe("every text of an entry", () => {
  const evil = '"}\n{"x":"\\';
  for (const [name, text] of Object.entries(REQUEST)) {
    if (typeof text !== "string") continue;
    it(`${name} is escaped`, () => {
      const { log, lines } = accessLog("all");
      log.request({ ...REQUEST, [name]: evil });
      assert(!lines[0]?.includes("\n"));
      const line = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
      assert(Object.values(line).includes(evil));
      assert(!("x" in line));
    });
  }
});

describe("the mode", () => {
  const failure = fail("DENIED_BY_POLICY", "");
  const count = (mode: AccessMode, random?: () => number): number => {
    const { log, lines } = accessLog(mode, random);
    log.connection(CONNECTION);
    log.request(REQUEST);
    log.connection({ ...CONNECTION, failure });
    log.request({ ...REQUEST, failure });
    return lines.length;
  };

  it("chooses what is written", () => {
    assert.equal(count("all"), 4);
    assert.equal(count("failures"), 2);
    assert.equal(count("off"), 0);
    assert.equal(count(0), 2);
    assert.equal(count(1), 4);
    assert.equal(
      count(0.5, () => 0.4),
      4,
    );
    assert.equal(
      count(0.5, () => 0.6),
      2,
    );
  });
});

it("holds back a flood of one failure, tells how many, and leaves the others their lines", () => {
  const { log, lines, last, clock } = accessLog("all");
  for (let index = 0; index < 100_000; index += 1)
    log.connection({ ...CONNECTION, failure: fail("DENIED_BY_POLICY", "") });
  assert.equal(lines.length, 1000);
  log.connection({ ...CONNECTION, failure: fail("APP_REFUSED", "") });
  log.connection(CONNECTION);
  assert.equal(lines.length, 1002);
  assert.equal(log.suppressed, 99_000);
  clock.advance(1000);
  log.connection({ ...CONNECTION, failure: fail("DENIED_BY_POLICY", "") });
  assert.equal(last()["suppressed"], 99_000);
});
