// Who may come to a workload that requires its waypoint, while its callers move from one to another.
import assert from "node:assert/strict";
import { test } from "node:test";
import { buildSnapshot } from "@culvert/shared/config/build.ts";
import { parseText } from "@culvert/shared/config/resources/text-fixtures.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { id, ip } from "@culvert/test/support/fixtures.ts";
import {
  authorizationPolicy,
  service,
  waypoint,
  workloadEntry,
  type Resource,
} from "@culvert/test/support/resources.ts";
import { untilLess } from "./former-waypoints.ts";
import { deriveState, judge, type UproxyState } from "./state.ts";

const OVERLAP = { openMs: 5_000, keepMs: 25_000 };
const identity = {
  version: 1,
  svid: { id: id("shop") },
  bundles: new Map(),
  aliases: new Set(),
} as unknown as Identity;

interface Said {
  readonly label?: "a" | "b";
  readonly requires?: boolean;
  /** Gateways that are there. */
  readonly gateways?: readonly ("a" | "b")[];
  /** Account of the instance of `a`. */
  readonly accountOfA?: string;
  readonly more?: readonly Resource[];
}

function next(said: Said, before?: UproxyState, nowMs = 0): UproxyState {
  const { label, requires = true, gateways = ["a", "b"], accountOfA = "a", more = [] } = said;
  const all = [
    service("shop", [{ name: "http", port: 80 }], {
      ...(label === undefined ? {} : { labels: { "istio.io/use-waypoint": label } }),
      annotations: { "culvert.dev/require-waypoint": String(requires) },
    }),
    workloadEntry("shop", "10.0.0.5", { serviceAccount: "shop" }),
    ...gateways.flatMap((name, index) =>
      waypoint(name, `10.0.1.${index}`, { serviceAccount: name === "a" ? accountOfA : name }),
    ),
    ...more,
  ];
  const snapshot = buildSnapshot(
    1,
    parseText(all.map((resource) => JSON.stringify(resource)).join("\n---\n")),
    () => [],
  );
  const predecessor = before === undefined ? undefined : { state: before, nowMs, overlap: OVERLAP };
  return deriveState(snapshot, identity, { configured: undefined, addresses: [ip("10.0.0.5")] }, predecessor);
}

/** Who may open connections, and who may keep them. */
function may(state: UproxyState): { readonly open: string; readonly keep: string } {
  const facts = { sourceIp: ip("10.0.0.9"), destinationIp: ip("10.0.0.5"), destinationPort: 80 };
  const allowed = (isOpen: boolean): string =>
    ["a", "b", "client", "rogue"]
      .filter((name) => judge(state, { ...facts, principal: id(name) }, isOpen).allowed)
      .join();
  return { open: allowed(false), keep: allowed(true) };
}

test("the waypoint that was required may open for a while, and keep what it has", () => {
  const before = next({ label: "a" });
  assert.deepEqual(may(before), { open: "a", keep: "a" });
  const moved = next({ label: "b" }, before, 1_000);
  assert.deepEqual(may(moved), { open: "a,b", keep: "a,b" });
  assert.equal(untilLess(moved.former, 1_000, OVERLAP), 5_000);
  const soon = next({ label: "b" }, moved, 5_999);
  assert.deepEqual(may(soon), { open: "a,b", keep: "a,b" });
  const later = next({ label: "b" }, soon, 6_000);
  assert.deepEqual(may(later), { open: "b", keep: "a,b" });
  assert.equal(untilLess(later.former, 6_000, OVERLAP), undefined);
  assert.deepEqual(may(next({ label: "a" }, later, 7_000)), { open: "a,b", keep: "a,b" });
});

test("other changes do not make it longer", () => {
  let state = next({ label: "b" }, next({ label: "a" }), 0);
  for (let nowMs = 1_000; nowMs <= 5_000; nowMs += 1_000) state = next({ label: "b" }, state, nowMs);
  assert.deepEqual(may(state), { open: "b", keep: "a,b" });
});

test("what was open goes on only for instances that are there still, and were there", () => {
  const moved = next({ label: "b" }, next({ label: "a" }), 0);
  assert.deepEqual(may(next({ label: "b", accountOfA: "rogue" }, moved, 1)), { open: "b", keep: "b" });
});

test("where nobody tells who the instances are any more, it goes on for the time of a drain", () => {
  const moved = next({ label: "b", gateways: ["b"] }, next({ label: "a" }), 0);
  assert.deepEqual(may(moved), { open: "a,b", keep: "a,b" });
  const later = next({ label: "b", gateways: ["b"] }, moved, 5_000);
  assert.deepEqual(may(later), { open: "b", keep: "a,b" });
  assert.equal(untilLess(later.former, 5_000, OVERLAP), 20_000);
  assert.deepEqual(may(next({ label: "b", gateways: ["b"] }, later, 25_000)), { open: "b", keep: "b" });
});

test("who came directly has no claim when a waypoint is required, nor has anybody when it no longer is one", () => {
  const direct = next({ requires: false });
  assert.deepEqual(may(direct), { open: "a,b,client,rogue", keep: "a,b,client,rogue" });
  const required = next({ label: "a" }, direct, 1_000);
  assert.deepEqual(may(required), { open: "a", keep: "a" });
  const lifted = next({ label: "a", requires: false }, required, 2_000);
  assert.deepEqual(may(next({ label: "b" }, lifted, 2_001)), { open: "b", keep: "b" });
});

test("policies hold for them as ever", () => {
  const from = [{ source: { principals: ["cluster.local/ns/default/sa/a"] } }];
  const more = [authorizationPolicy("no-a", "DENY", { app: "shop" }, [{ from }])];
  assert.deepEqual(may(next({ label: "b", more }, next({ label: "a" }), 0)), { open: "b", keep: "b" });
});
