import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { id, ip, policy, service, snapshot, workload } from "@culvert/test/support/fixtures.ts";
import { explainInbound, explainOutbound } from "./explain.ts";
import { deriveState } from "./state.ts";

const apiForWeb = policy("api-for-web", {
  target: { kind: "selector", labels: new Map([["app", "api"]]) },
  rules: [{ from: [{ principals: [{ kind: "exact", value: "cluster.local/ns/default/sa/web" }] }], to: [] }],
});
const mesh = snapshot(
  {
    workloads: [workload("api", { addresses: ["10.0.0.5"], labels: { app: "api" } })],
    services: [service("api")],
  },
  { policies: [apiForWeb] },
);
const identity = {
  version: 1,
  svid: { id: id("default/api") },
  bundles: new Map(),
  aliases: new Set(),
} as unknown as Identity;
const state = deriveState(mesh, identity, { configured: undefined, addresses: [ip("10.0.0.5")] });

function last(explained: ReturnType<typeof explainOutbound>): string {
  return isFailure(explained) ? explained.toString() : (explained.at(-1) ?? "");
}

test("an outbound explanation ends in what happens", () => {
  assert.equal(last(explainOutbound(state, "api:80", "refuse")), "=> the endpoint above");
  assert.match(last(explainOutbound(state, "example.com:443", "refuse")), /^=> refused, EGRESS_REFUSED: /);
  assert.equal(
    last(explainOutbound(state, "example.com:443", "passthrough")),
    "=> passed through in plain TCP to example.com:443",
  );
  assert.match(last(explainOutbound(state, "api", "refuse")), /expected HOST:PORT, found "api"/);
});

test("an outbound explanation names who refuses whatever comes without a waypoint", () => {
  const workloads = [workload("api", { addresses: ["10.0.0.5"], labels: { app: "api" }, requireWaypoint: true })];
  const guarded = deriveState(snapshot({ workloads, services: [service("api")] }), identity, {
    configured: undefined,
    addresses: [ip("10.0.0.5")],
  });
  const explained = explainOutbound(guarded, "api:80", "refuse");
  assert.ok(!isFailure(explained) && explained.some((line) => /default\/api takes its waypoint only/.test(line)));
  const free = explainOutbound(state, "api:80", "refuse");
  assert.ok(!isFailure(free) && !free.some((line) => line.includes("WAYPOINT_REQUIRED")));
});

function ask(from: string | undefined): ReturnType<typeof explainInbound> {
  return explainInbound(state, { from, to: "10.0.0.5:8080", sourceIp: undefined });
}

test("an inbound explanation names policy, rule and the field that refuted it", () => {
  assert.equal(last(ask(id("default/web"))), "=> allowed by default/api-for-web rules[0]");
  const denied = ask(id("default/other"));
  assert.match(last(denied), /^=> denied, DENIED_BY_POLICY: /);
  assert.ok(!isFailure(denied) && denied.some((line) => /rules\[0\].*principals/.test(line)), String(denied));
  assert.match(last(ask(undefined)), /^=> denied/);
  assert.match(last(ask("spiffe://UPPER/ns/a/sa/b")), /SPIFFE/);
});
