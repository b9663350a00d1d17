import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import { id, ip, service, snapshot, waypoint, workload } from "@culvert/test/support/fixtures.ts";
import { inboundTarget } from "./inbound-target.ts";
import { deriveState, judge } from "../state.ts";

const waypointRef = { namespace: "default", name: "waypoint" };
const mesh = snapshot({
  workloads: [
    workload("reviews-1", {
      addresses: ["10.0.0.5", "fd00::5"],
      labels: { app: "reviews" },
      serviceAccount: "reviews",
      requireWaypoint: true,
    }),
    workload("ratings-1", { addresses: ["10.0.0.6"], labels: { app: "ratings" } }),
    workload("waypoint-1", {
      addresses: ["10.0.0.20"],
      labels: { "gateway.networking.k8s.io/gateway-name": "waypoint" },
      serviceAccount: "waypoint",
    }),
  ],
  services: [
    service("reviews", { waypoint: waypointRef }),
    service("ratings"),
    service("loop", {
      selector: { app: "reviews" },
      ports: [{ name: "tcp", port: 80, targetPort: 15008, appProtocol: "tcp" }],
    }),
  ],
  waypoints: [waypoint("waypoint")],
});
const identity = {
  version: 1,
  svid: { id: id("default/reviews") },
  bundles: new Map(),
  aliases: new Set(),
} as unknown as Identity;
const state = deriveState(mesh, identity, { configured: undefined, addresses: [ip("10.0.0.5")] });
const tcp = (host: string, port: number) => ({ kind: "tcp", host, port }) as const;
const app = { host: undefined, notTo: [tcp("", 15008), tcp("10.0.0.5", 15000), tcp("127.0.0.1", 8080)] };

const table: readonly [string, string, string][] = [
  ["10.0.0.5:8080", "10.0.0.5", "10.0.0.5:8080"],
  ["[fd00::5]:8080", "10.0.0.5", "fd00::5:8080"],
  ["192.0.2.9:8080", "192.0.2.9", "192.0.2.9:8080"],
  ["reviews.default.svc.cluster.local:80", "10.0.0.5", "10.0.0.5:8080"],
  ["reviews:80", "192.0.2.9", "10.0.0.5:8080"],
  ["10.0.0.6:8080", "10.0.0.5", "DESTINATION_NOT_MINE"],
  ["127.0.0.1:8080", "10.0.0.5", "DESTINATION_NOT_MINE"],
  ["169.254.169.254:80", "10.0.0.5", "DESTINATION_NOT_MINE"],
  ["0.0.0.0:80", "10.0.0.5", "DESTINATION_NOT_MINE"],
  ["10.0.0.5:15008", "10.0.0.5", "SELF_CALL"],
  ["10.0.0.5:15000", "10.0.0.5", "SELF_CALL"],
  ["loop:80", "10.0.0.5", "SELF_CALL"],
  ["ratings:80", "10.0.0.5", "SERVICE_NOT_MINE"],
  ["reviews:81", "10.0.0.5", "SERVICE_NOT_MINE"],
  ["example.com:80", "10.0.0.5", "SERVICE_NOT_MINE"],
];

for (const [authority, local, expected] of table) {
  test(`${authority} at ${local} means ${expected}`, () => {
    const parsed = parseAuthority(authority);
    assert.ok(!isFailure(parsed));
    const target = inboundTarget(state, parsed, ip(local), app);
    assert.equal(isFailure(target) ? target.code : `${target.ip}:${target.port}`, expected);
  });
}

test("an app on loopback is not mistaken for a listener of the proxy on another address, nor the other way round", () => {
  const parsed = parseAuthority("10.0.0.5:8080");
  assert.ok(!isFailure(parsed));
  const ofHost = (host: string | undefined): string => {
    const target = inboundTarget(state, parsed, ip("10.0.0.5"), { ...app, host });
    return isFailure(target) ? target.code : target.host;
  };
  assert.equal(ofHost(undefined), "10.0.0.5");
  assert.equal(ofHost("127.0.0.1"), "SELF_CALL");
  assert.equal(
    ofHost("localhost"),
    "SELF_CALL",
    "localhost is 127.0.0.1, and a peer must not reach the admin port by it",
  );
});

test("while the resources do not say who we are, nothing is ours", () => {
  const lost = deriveState(mesh, identity, { configured: undefined, addresses: [ip("192.0.2.1")] });
  const parsed = parseAuthority("10.0.0.5:8080");
  assert.ok(!isFailure(parsed));
  const target = inboundTarget(lost, parsed, ip("10.0.0.5"), app);
  assert.equal(isFailure(target) && target.code, "WORKLOAD_UNKNOWN");
});

test("a workload that requires its waypoint refuses everybody else, and plaintext", () => {
  const facts = { sourceIp: ip("10.0.0.9"), destinationIp: ip("10.0.0.5"), destinationPort: 8080 };
  const callers = [id("default/waypoint"), id("default/ratings"), undefined];
  assert.deepEqual(
    callers.map((principal) => {
      const verdict = judge(state, { ...facts, principal });
      return verdict.allowed ? "allowed" : verdict.failure.code;
    }),
    ["allowed", "WAYPOINT_REQUIRED", "WAYPOINT_REQUIRED"],
  );
});
