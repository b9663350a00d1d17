import assert from "node:assert/strict";
import { test } from "node:test";
import { AuditLog } from "@culvert/authority/observe/audit-log.ts";
import { must } from "../support/must.ts";
import { fail } from "@culvert/shared/failure/failure.ts";
import { parseSpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { AccessLog } from "@culvert/shared/observe/access-log.ts";
import { Log } from "@culvert/shared/observe/log.ts";
import { AUDIT_KEYS, CONNECTION_KEYS, EVENT_KEYS, REQUEST_KEYS } from "./logs-page.ts";
import type { KeyMeaning } from "./logs-page.ts";

/** More than any flood gate lets through in a second. */
const FLOOD = 2000;

/** All keys of the lines that `write` writes, in which every key appears: known, failed, and after a flood. */
function keysOf(write: (line: (text: string) => void, clock: FakeClock) => void): ReadonlySet<string> {
  const keys = new Set<string>();
  write((text) => {
    for (const key of Object.keys(JSON.parse(text) as object)) keys.add(key);
  }, new FakeClock());
  return keys;
}

function same(keys: ReadonlySet<string>, documented: readonly KeyMeaning[]): void {
  assert.deepEqual([...keys].toSorted(), documented.map(([key]) => key).toSorted());
}

const failure = fail("APP_REFUSED", "10.0.0.5:9080");

test("the documented keys of a connection are those of its line", () => {
  const end = { address: "10.0.0.5:1", workload: "w", namespace: "n", identity: "spiffe://td/ns/n/sa/w" };
  const keys = keysOf((write, clock) => {
    const log = new AccessLog({ mode: "all", write, clock });
    const once = (): void =>
      log.connection({
        connection: "c",
        direction: "inbound",
        source: end,
        destination: end,
        hboneAddress: "10.0.0.5:15008",
        service: "s",
        tlsGroup: "X25519",
        requestedServerName: "shop.example.com",
        route: "n/r",
        rule: "rules[0]",
        bytesSent: 1,
        bytesReceived: 1,
        durationMs: 1,
        failure,
        policy: "n/p",
        policyRule: "rules[0]",
        dryRun: ["n/p would deny: rules[0]"],
      });
    for (let index = 0; index < FLOOD; index += 1) once();
    clock.advance(1000);
    once();
  });
  same(keys, CONNECTION_KEYS);
});

test("the documented keys of a request are those of its line", () => {
  const keys = keysOf((write, clock) => {
    const log = new AccessLog({ mode: "all", write, clock });
    const once = (): void =>
      log.request({
        connection: "c",
        startTime: 0,
        method: "GET",
        path: "/",
        protocol: "HTTP/1.1",
        authority: "a",
        responseCode: 503,
        grpcStatus: 14,
        failure,
        bytesReceived: 0,
        bytesSent: 0,
        durationMs: 1,
        upstreamServiceMs: 1,
        forwardedFor: "",
        userAgent: "",
        requestId: "",
        upstreamHost: "",
        upstreamCluster: "",
        upstreamLocalAddress: "",
        downstreamLocalAddress: "",
        downstreamRemoteAddress: "",
        requestedServerName: "",
        route: "",
        rule: "",
        policy: "",
        policyRule: "",
        dryRun: ["n/p would deny: rules[0]"],
        sourceIdentity: "",
        tlsGroup: "X25519",
      });
    for (let index = 0; index < FLOOD; index += 1) once();
    clock.advance(1000);
    once();
  });
  same(keys, REQUEST_KEYS);
});

test("the documented keys of the audit are those of its lines", () => {
  const id = must(parseSpiffeId("spiffe://td/ns/n/sa/w"));
  const proof = { kind: "kubernetes", id, by: "pod p", spend: async () => undefined } as const;
  const call = { method: "CreateCertificate", remote: "10.0.0.5:1", proof, durationMs: 1 } as const;
  const keys = keysOf((write, clock) => {
    const log = new AuditLog({ write, clock });
    log.issued(call, { serial: "01", notAfter: 0 });
    for (let index = 0; index < FLOOD; index += 1) log.refused(call, failure);
    clock.advance(1000);
    log.refused(call, failure);
  });
  same(keys, AUDIT_KEYS);
});

test("the documented keys of an event are those of its line", () => {
  const keys = keysOf((write, clock) => {
    const log = new Log({ level: "info", write, clock });
    for (let index = 0; index < FLOOD; index += 1) log.failure("it failed", failure);
    clock.advance(1000);
    log.failure("it failed", failure);
  });
  same(keys, EVENT_KEYS);
});
