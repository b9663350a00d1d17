import assert from "node:assert/strict";
import { test } from "node:test";
import type { Condition, ResourceStatus } from "./condition.ts";
import { statusLines, statusObject } from "./status-object.ts";

const REF = { group: "", kind: "Service" as const, namespace: "shop", name: "reviews", port: 80 };

function condition(parts: Partial<Condition> = {}): Condition {
  return { type: "Accepted", status: "True", reason: "Accepted", message: "", observedGeneration: 1, ...parts };
}

function status(...conditions: Condition[]): ResourceStatus {
  return { kind: "HTTPRoute", namespace: "shop", name: "r", parents: [{ ref: REF, conditions }] };
}

test("a condition has the time since when it holds", () => {
  const first = statusObject(status(condition()), "2026-01-01T00:00:00Z");
  assert.deepEqual(first, {
    parents: [
      {
        parentRef: REF,
        controllerName: "culvert.dev/waypoint",
        conditions: [{ ...condition(), lastTransitionTime: "2026-01-01T00:00:00Z" }],
      },
    ],
  });
  const same = statusObject(status(condition({ observedGeneration: 2 })), "2026-01-02T00:00:00Z", first);
  const refused = condition({ status: "False", reason: "NoMatchingParent" });
  const changed = statusObject(status(refused), "2026-01-03T00:00:00Z", same);
  const times = [same, changed].map(
    (object) => "parents" in object && object.parents[0]?.conditions[0]?.lastTransitionTime,
  );
  assert.deepEqual(times, ["2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"]);
});

test("what other controllers have written stays, and what we no longer say goes", () => {
  const other = { parentRef: { ...REF, name: "x" }, controllerName: "example.net/other", conditions: [] };
  const stale = { ...other, controllerName: "culvert.dev/waypoint" };
  const object = statusObject(status(condition()), "2026-01-01T00:00:00Z", { parents: [stale, other] });
  assert.ok("parents" in object);
  assert.deepEqual(
    object.parents.map(({ controllerName, parentRef }) => [controllerName, parentRef.name]),
    [
      ["example.net/other", "x"],
      ["culvert.dev/waypoint", "reviews"],
    ],
  );
});

test("a policy has ancestors", () => {
  const object = statusObject({ ...status(condition()), kind: "BackendTLSPolicy" }, "2026-01-01T00:00:00Z");
  assert.ok("ancestors" in object);
  assert.deepEqual(object.ancestors[0]?.ancestorRef, REF);
});

test("a line for people", () => {
  const refs = condition({
    type: "ResolvedRefs",
    status: "False",
    reason: "BackendNotFound",
    message: "there is none",
  });
  assert.deepEqual(statusLines(status(condition(), refs)), [
    "HTTPRoute shop/r for Service shop/reviews:80: Accepted, not ResolvedRefs (BackendNotFound: there is none)",
  ]);
});
