// The label `istio.io/use-waypoint` changes, and each program has heard of it or has not: what each of them decides, in all combinations.
import assert from "node:assert/strict";
import { test } from "node:test";
import { buildSnapshot } from "@culvert/shared/config/build.ts";
import { parseText } from "@culvert/shared/config/resources/text-fixtures.ts";
import type { Snapshot } from "@culvert/shared/config/snapshot.ts";
import { Failure, FAILURES, isFailure, type FailureCode } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { parseAuthority } from "@culvert/shared/tunnel/authority.ts";
import { mayBeLate } from "@culvert/shared/tunnel/elsewhere.ts";
import { resolve } from "@culvert/uproxy/outbound/resolve.ts";
import { deriveState, judge, type UproxyState } from "@culvert/uproxy/state.ts";
import { resolveDestination } from "@culvert/waypoint/mesh/destination.ts";
import { id, ip, TRUST_DOMAIN } from "../support/fixtures.ts";
import { MOVING, resourcesOf, type Said } from "../support/moving.ts";
import { must } from "../support/must.ts";

const ADDRESSES = { client: "10.0.0.1", a: "10.0.0.2", b: "10.0.0.3", shop: "10.0.0.4" };
const OVERLAP = { openMs: 5_000, keepMs: 25_000 };

type Version = "old" | "new";
/** Who has heard; `a` and `b` are what the waypoints know. */
interface Heard {
  readonly client: Version;
  readonly a: Version;
  readonly b: Version;
  readonly shop: Version;
}
type Outcome = "open" | FailureCode;

function snapshotOf(said: Said): Snapshot {
  const texts = resourcesOf(said, ADDRESSES).map((resource) => JSON.stringify(resource));
  return buildSnapshot(1, parseText(texts.join("\n---\n")), () => []);
}

function shopOf(snapshot: Snapshot, before?: UproxyState): UproxyState {
  const identity = {
    version: 1,
    svid: { id: id("shop") },
    bundles: new Map(),
    aliases: new Set(),
  } as unknown as Identity;
  const predecessor = before === undefined ? undefined : { state: before, nowMs: 0, overlap: OVERLAP };
  return deriveState(snapshot, identity, { configured: undefined, addresses: [ip(ADDRESSES.shop)] }, predecessor);
}

/** What becomes of a connection of the client that begins in a combination. */
function outcomeOf(snapshots: Readonly<Record<Version, Snapshot>>, heard: Heard): Outcome {
  const self = { namespace: "default", trustDomain: TRUST_DOMAIN, network: "" };
  const destination = { kind: "name", host: "shop", port: MOVING.http } as const;
  const hop = must(resolve(snapshots[heard.client], self, destination, "refuse"));
  assert.equal(hop.kind, "tunnel");
  let caller = "client";
  if (hop.kind === "tunnel" && hop.waypoint !== undefined) {
    const name = hop.waypoint.name === "a" ? "a" : "b";
    const waypoint = {
      gateway: { namespace: "default", name },
      id: id(name),
      trustDomain: TRUST_DOMAIN,
      aliases: new Set<never>(),
      place: { addresses: [], port: 15_008 },
      pathNormalization: "base",
    } as const;
    const authority = must(parseAuthority(`shop.default.svc.cluster.local:${MOVING.http}`));
    const asking = { id: id("client"), namespace: "default" };
    const served = resolveDestination(snapshots[heard[name]].directory, waypoint, authority, asking);
    if (isFailure(served)) return served.code;
    caller = name;
  }
  const old = shopOf(snapshots.old);
  const shop = heard.shop === "old" ? old : shopOf(snapshots.new, old);
  const facts = { sourceIp: ip("10.0.0.9"), destinationIp: ip(ADDRESSES.shop), destinationPort: MOVING.http };
  const verdict = judge(shop, { ...facts, principal: id(caller) });
  return verdict.allowed ? "open" : verdict.failure.code;
}

const VERSIONS = ["old", "new"] as const;
const COMBINATIONS: readonly Heard[] = VERSIONS.flatMap((client) =>
  VERSIONS.flatMap((a) => VERSIONS.flatMap((b) => VERSIONS.map((shop) => ({ client, a, b, shop })))),
);

interface Move {
  readonly name: string;
  readonly from: Pick<Said, "waypoint" | "requires">;
  readonly to: Pick<Said, "waypoint" | "requires">;
  /** The outcomes by client, the waypoint that it asks (or `-` where it asks none), and shop: `o` has not heard, `n` has. */
  readonly outcomes: Readonly<Record<string, Outcome>>;
}

const UNKNOWN = "DESTINATION_UNKNOWN";
const REQUIRED = "WAYPOINT_REQUIRED";
const MOVES: readonly Move[] = [
  {
    name: "to another waypoint",
    from: { waypoint: "a", requires: false },
    to: { waypoint: "b", requires: false },
    outcomes: {
      ooo: "open",
      oon: "open",
      ono: UNKNOWN,
      onn: UNKNOWN,
      noo: UNKNOWN,
      non: UNKNOWN,
      nno: "open",
      nnn: "open",
    },
  },
  {
    name: "to another waypoint, where one is required",
    from: { waypoint: "a", requires: true },
    to: { waypoint: "b", requires: true },
    outcomes: {
      ooo: "open",
      oon: "open",
      ono: UNKNOWN,
      onn: UNKNOWN,
      noo: UNKNOWN,
      non: UNKNOWN,
      nno: REQUIRED,
      nnn: "open",
    },
  },
  {
    name: "from none",
    from: { waypoint: undefined, requires: false },
    to: { waypoint: "a", requires: false },
    outcomes: { "o-o": "open", "o-n": "open", noo: UNKNOWN, non: UNKNOWN, nno: "open", nnn: "open" },
  },
  {
    name: "from none, and it is required at once",
    from: { waypoint: undefined, requires: false },
    to: { waypoint: "a", requires: true },
    outcomes: { "o-o": "open", "o-n": REQUIRED, noo: UNKNOWN, non: UNKNOWN, nno: "open", nnn: "open" },
  },
  {
    name: "to none",
    from: { waypoint: "a", requires: false },
    to: { waypoint: undefined, requires: false },
    outcomes: { ooo: "open", oon: "open", ono: UNKNOWN, onn: UNKNOWN, "n-o": "open", "n-n": "open" },
  },
  {
    name: "to none, and it is required no more",
    from: { waypoint: "a", requires: true },
    to: { waypoint: undefined, requires: false },
    outcomes: { ooo: "open", oon: "open", ono: UNKNOWN, onn: UNKNOWN, "n-o": REQUIRED, "n-n": "open" },
  },
];

for (const { name, from, to, outcomes } of MOVES) {
  for (const on of ["service", "namespace"] as const) {
    test(`${name}, by the label of the ${on}`, () => {
      const snapshots = { old: snapshotOf({ ...from, on }), new: snapshotOf({ ...to, on }) };
      const found: Record<string, Outcome> = {};
      for (const heard of COMBINATIONS) {
        const asked = heard.client === "old" ? from.waypoint : to.waypoint;
        const key = [heard.client, asked === undefined ? "-" : heard[asked], heard.shop]
          .map(([first]) => first)
          .join("");
        found[key] = outcomeOf(snapshots, heard);
      }
      assert.deepEqual(found, outcomes);
    });
  }
}

test("whoever is refused in between asks again, and is let in once all have heard", () => {
  for (const { outcomes } of MOVES) {
    assert.equal(outcomes["nnn"] ?? outcomes["n-n"], "open");
    for (const code of Object.values(outcomes)) {
      if (code === "open") continue;
      const peers = FAILURES[code].tunnelStatus === 404 ? "PEER_NO_DESTINATION" : "PEER_DENIED";
      assert.ok(mayBeLate(new Failure(peers, "", code)), code);
    }
  }
});
