import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { AuthorizationPolicy } from "@culvert/shared/policy/authorization.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import type { TunnelRequest } from "@culvert/shared/tunnel/server.ts";
import type { WaypointRef } from "@culvert/shared/workload/workload.ts";
import { id, ip } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { policy, SELF, service, servicePort, snapshot, workload, type MeshParts } from "../mesh-fixtures.ts";
import { ConnectionGuard } from "../mesh/guard.ts";
import { MeshView } from "../mesh/view.ts";
import { standingOf, type Standing } from "./standing.ts";

const OTHER: WaypointRef = { namespace: "default", name: "other" };

/** `default/reviews` behind a waypoint, or behind none. */
function viewOf(before: WaypointRef | undefined, parts: MeshParts = {}, holdsScope = false): MeshView {
  const mesh = { services: [service("default/reviews", { waypoint: before })], ...parts };
  const workloads = [workload("default/reviews-1", "10.0.0.1", { waypoint: before })];
  return new MeshView(snapshot({ workloads, ...mesh }), { ...SELF, holdsScope });
}

function tunnelTo(authority: string): Parameters<typeof standingOf>[1] {
  const request = { authority: must(parseAuthority(authority)) } as TunnelRequest;
  return { request, caller: { id: id("default/curl"), namespace: "default" } };
}

const TUNNEL = tunnelTo("reviews:9080");

/** What the last of several views means for a tunnel that was accepted in the first. */
function after(views: readonly MeshView[], tunnel = TUNNEL): Standing | string {
  let standing: Standing | undefined;
  for (const view of views) {
    const next = standingOf(view, tunnel, standing);
    if (isFailure(next)) return next.code;
    standing = next;
  }
  return must(standing ?? "no view");
}

function asks(standing: Standing | string, path: string): boolean {
  if (typeof standing === "string") return false;
  const facts = {
    principal: id("default/curl"),
    sourceIp: ip("10.0.0.8"),
    destinationIp: undefined,
    destinationPort: 9080,
  };
  return new ConnectionGuard(standing.guard, facts).decideRequest({ method: "GET", host: "reviews", path }).allowed;
}

function outcomes(standing: Standing | string): boolean[] {
  return ["/then", "/now", "/later", "/"].map((path) => asks(standing, path));
}

function denies(path: string): AuthorizationPolicy {
  const to = [{ paths: [{ kind: "exact" as const, value: path }] }];
  return policy(`no-${path.slice(1)}`, { action: "DENY", rules: [{ from: [], to }] });
}

test("a new tunnel is refused where another waypoint stands, or none", () => {
  for (const before of [OTHER, undefined]) {
    assert.equal(after([viewOf(before)]), "DESTINATION_UNKNOWN");
    assert.equal(after([viewOf(before)], tunnelTo("10.0.0.1:9080")), "DESTINATION_UNKNOWN");
  }
});

test("one that is there goes on, by the routes and endpoints of now", () => {
  for (const authority of ["reviews:9080", "10.0.0.1:9080"]) {
    for (const before of [OTHER, undefined]) {
      const now = viewOf(before);
      const standing = after([viewOf(SELF.gateway), now], tunnelTo(authority));
      assert.ok(typeof standing !== "string");
      assert.equal(standing.view, now);
      assert.equal(standing.left?.isKnown, true);
      assert.ok(asks(standing, "/"));
    }
  }
  const back = after([viewOf(SELF.gateway), viewOf(OTHER), viewOf(SELF.gateway)]);
  assert.ok(typeof back !== "string" && back.left === undefined);
});

test("what held then and what holds now must both permit, however often it changes", () => {
  const before = viewOf(SELF.gateway, { policies: [denies("/then")] });
  const moved = viewOf(OTHER, { policies: [denies("/now")] });
  const again = viewOf(OTHER, { policies: [denies("/later")] });
  assert.deepEqual(outcomes(after([before])), [false, true, true, true]);
  assert.deepEqual(outcomes(after([before, moved])), [false, false, true, true]);
  assert.deepEqual(outcomes(after([before, moved, again])), [false, true, false, true]);
});

test("what is deleted, loses the port or is shown to the caller no more ends", () => {
  const before = viewOf(SELF.gateway);
  assert.equal(after([before, viewOf(undefined, { services: [] })]), "DESTINATION_UNKNOWN");
  const ports = [servicePort({ port: 9081 })];
  assert.equal(
    after([before, viewOf(OTHER, { services: [service("default/reviews", { ports, waypoint: OTHER })] })]),
    "DESTINATION_UNKNOWN",
  );
  const hidden = service("default/reviews", { waypoint: OTHER, exportedTo: new Set(["shop"]) });
  assert.equal(after([before, viewOf(OTHER, { services: [hidden] })]), "DESTINATION_UNKNOWN");
});

test("a waypoint that is told of its scope alone goes on as it was, and says that it knows no more", () => {
  const before = viewOf(SELF.gateway, { policies: [denies("/then")] }, true);
  const gone = viewOf(undefined, { services: [], workloads: [] }, true);
  const standing = after([before, gone, gone]);
  assert.ok(typeof standing !== "string");
  assert.equal(standing.view, before);
  assert.equal(standing.left?.isKnown, false);
  assert.deepEqual([asks(standing, "/then"), asks(standing, "/")], [false, true]);
  assert.equal(after([gone]), "DESTINATION_UNKNOWN");
});
