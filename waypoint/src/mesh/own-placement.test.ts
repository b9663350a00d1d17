// What the placement of the own Gateway changes of what a waypoint serves and where it sends.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { parseTrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import type { Waypoint, Workload } from "@culvert/shared/workload/workload.ts";
import { id, ip, serviceEntry } from "@culvert/test/support/fixtures.ts";
import { must } from "@culvert/test/support/must.ts";
import { SELF, service, snapshot, WAYPOINT, waypointInstance, workload } from "../mesh-fixtures.ts";
import type { EndpointGroup } from "../upstream/balance.ts";
import type { UpstreamEndpoint } from "../upstream/endpoints.ts";
import type { WaypointSelf } from "./destination.ts";
import { otherAccountThanOwn } from "./own-placement.ts";
import { MeshView } from "./view.ts";

const reviews = [
  workload("default/reviews-1", "10.0.0.1"),
  workload("default/reviews-2", "10.0.0.2"),
  workload("default/reviews-3", "10.0.0.3"),
] as const;
const beside = { ...waypointInstance("10.0.0.2"), hbonePort: 25008 };

function viewOf(
  placed: Partial<Waypoint>,
  workloads: readonly Workload[] = [...reviews, beside],
  self: Partial<WaypointSelf> = {},
): MeshView {
  const outside = serviceEntry(
    "default/out",
    "api.example.com",
    { endpoints: [workload("default/place", "192.0.2.1", { protocol: "none", serviceAccount: "" })] },
    { waypoint: SELF.gateway },
  );
  const contents = {
    workloads,
    services: [service("default/reviews"), outside],
    waypoints: [{ ...WAYPOINT, ...placed }],
  };
  const place = { addresses: [ip("127.0.0.1"), ip("10.0.0.2")], port: 25008 };
  return new MeshView(snapshot(contents), { ...SELF, place, ...self });
}

function groupOf(view: MeshView, authority: string): EndpointGroup | Failure {
  const caller = { id: id("default/client"), namespace: "default" };
  const destination = view.destination(must(parseAuthority(authority)), caller);
  return isFailure(destination) ? destination : view.group(destination);
}

/** The addresses that are tried one after the other, those that are equal in order; or the code of the refusal. */
function order(group: EndpointGroup | Failure): string[] {
  if (isFailure(group)) return [group.code];
  const tried: object[] = [];
  const addresses: string[] = [];
  for (;;) {
    const endpoint = group.pick(tried, () => 0);
    if (isFailure(endpoint)) return [addresses[0] ?? "", ...addresses.slice(1).toSorted()];
    tried.push(endpoint);
    addresses.push(endpoint.address);
  }
}

describe("sidecar", () => {
  const all = ["10.0.0.1:9080", "10.0.0.2:9080", "10.0.0.3:9080"];

  test("the application of the own pod comes first, the others when it cannot be reached", () => {
    const own = order(groupOf(viewOf({ placement: "sidecar" }), "reviews:9080"));
    assert.deepEqual(own, ["10.0.0.2:9080", "10.0.0.1:9080", "10.0.0.3:9080"]);
    const group = groupOf(viewOf({ placement: "sidecar" }), "reviews:9080");
    assert.ok(!isFailure(group));
    for (const at of [0, 0.3, 0.6, 0.9]) {
      assert.equal(must<UpstreamEndpoint | Failure>(group.pick([], () => at)).address, "10.0.0.2:9080");
    }
  });

  test("nobody comes first for another placement, another port, or an instance that is not in the resources", () => {
    const elsewhere = { place: { addresses: [ip("10.0.0.2")], port: 15008 } };
    for (const view of [
      viewOf({}),
      viewOf({ placement: "sidecar" }, reviews),
      viewOf({ placement: "sidecar" }, [...reviews, beside], elsewhere),
    ]) {
      const tried = order(groupOf(view, "reviews:9080"));
      assert.deepEqual(tried.toSorted(), all);
      assert.equal(tried[0], "10.0.0.1:9080");
    }
  });

  test("a caller may have the account of the pod, which is the waypoint's as well", () => {
    const view = viewOf({ placement: "sidecar" });
    const caller = { id: SELF.id, namespace: "default" };
    assert.ok(!isFailure(view.destination(must(parseAuthority("reviews:9080")), caller)));
  });
});

describe("service-account", () => {
  const placed = { placement: "service-account", forServiceAccount: "reviews" } as const;
  const self = { id: id("default/reviews") };

  test("its own account is served, and what lies outside", () => {
    const view = viewOf(placed, reviews, self);
    assert.deepEqual(order(groupOf(view, "reviews:9080")).length, 3);
    assert.deepEqual(order(groupOf(view, "api.example.com:443")), ["192.0.2.1:443"]);
  });

  test("of a service with several accounts only the endpoints of its own", () => {
    const other = { ...reviews[1], serviceAccount: "other" };
    const foreign = { ...reviews[2], trustDomain: must(parseTrustDomain("other.domain")) };
    const view = viewOf(placed, [reviews[0], other, foreign], self);
    assert.deepEqual(order(groupOf(view, "reviews:9080")), ["10.0.0.1:9080"]);
  });

  test("a destination of another account is refused, by its name and by its address", () => {
    const behind = reviews.map((each) => ({ ...each, serviceAccount: "other", waypoint: SELF.gateway }));
    const view = viewOf(placed, behind, self);
    assert.deepEqual(order(groupOf(view, "reviews:9080")), ["ACCOUNT_NOT_SERVED"]);
    assert.deepEqual(order(groupOf(view, "10.0.0.1:9080")), ["ACCOUNT_NOT_SERVED"]);
  });

  test("who is another account than that which the Gateway is for serves nothing", () => {
    const view = viewOf(placed, reviews);
    assert.deepEqual(order(groupOf(view, "reviews:9080")), ["ACCOUNT_NOT_SERVED"]);
    const failure = otherAccountThanOwn(view.snapshot.directory, view.self);
    assert.equal(
      failure?.detail,
      `Gateway default/waypoint is for ${id("default/reviews")}, and this waypoint is ${id("default/waypoint")}`,
    );
    assert.equal(otherAccountThanOwn(view.snapshot.directory, { ...view.self, ...self }), undefined);
    assert.equal(otherAccountThanOwn(viewOf({}).snapshot.directory, view.self), undefined);
  });
});
