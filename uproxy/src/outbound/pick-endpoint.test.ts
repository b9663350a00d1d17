import assert from "node:assert/strict";
import { test } from "node:test";
import { ip, workload } from "@culvert/test/support/fixtures.ts";
import { EndpointGroup, pickShare, type Standing } from "./pick-endpoint.ts";
import type { Endpoint, Share } from "./hop.ts";

function endpoint(name: string, weight = 1): Endpoint {
  return {
    workload: workload(name, { weight }),
    ip: ip("10.0.0.1"),
    port: 15008,
    authority: "10.0.0.1:80",
    expected: [],
  };
}

/** A chance that returns these numbers in turn. */
function dice(...throws: number[]): () => number {
  let at = 0;
  return () => throws[at++ % throws.length] ?? 0;
}

/** The same chance each time. */
function chance(seed = 7): () => number {
  return () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
}

function standing(parts: Partial<Standing> = {}): Standing {
  return { inFlight: () => 0, mayUse: () => true, ...parts };
}

/** How often each of the group is chosen in `times`. */
function counts(group: EndpointGroup, stands: Standing, times: number, tried: readonly Endpoint[] = []) {
  const random = chance();
  const chosen = new Map<string, number>();
  for (let index = 0; index < times; index += 1) {
    const name = group.pick(tried, stands, random)?.endpoint.workload.name ?? "none";
    chosen.set(name, (chosen.get(name) ?? 0) + 1);
  }
  return chosen;
}

test("the less busy of two wins, wherever the dice put it", () => {
  const [busy, idle] = [endpoint("busy"), endpoint("idle")];
  const stands = standing({ inFlight: (candidate) => (candidate === busy ? 5 : 1) });
  for (const random of [dice(0, 0), dice(0.99, 0)])
    assert.equal(new EndpointGroup([busy, idle]).pick([], stands, random)?.endpoint, idle);
});

test("load is measured per weight", () => {
  const [large, small] = [endpoint("large", 4), endpoint("small", 1)];
  const stands = standing({ inFlight: (candidate) => (candidate === large ? 6 : 2) });
  assert.equal(new EndpointGroup([large, small]).pick([], stands, dice(0.5, 0))?.endpoint, large);
});

test("weights decide how often an endpoint is drawn", () => {
  const group = new EndpointGroup([endpoint("one", 1), endpoint("three", 3), endpoint("none", 0)]);
  const chosen = counts(group, standing(), 4_000);
  assert.ok(Math.abs((chosen.get("three") ?? 0) - 3_000) < 200, JSON.stringify([...chosen]));
  const equal = counts(new EndpointGroup(["a", "b", "c", "d"].map((name) => endpoint(name))), standing(), 4_000);
  for (const [name, count] of equal) assert.ok(Math.abs(count - 1_000) < 150, `${name} ${count}`);
});

test("two are drawn, never one twice: of two endpoints the busy one is never chosen", () => {
  for (const weights of [
    [1, 1],
    [9, 1],
    [1, 9],
  ]) {
    const [busy, idle] = weights.map((weight, index) => endpoint(`e${index}`, weight)) as [Endpoint, Endpoint];
    const stands = standing({ inFlight: (candidate) => (candidate === busy ? 1_000 : 0) });
    assert.deepEqual([...counts(new EndpointGroup([busy, idle]), stands, 500).keys()], [idle.workload.name]);
  }
});

test("endpoints that were tried are left out, and none is left at the end", () => {
  const [one, two] = [endpoint("one"), endpoint("two")];
  const group = new EndpointGroup([one, two]);
  assert.equal(group.pick([one], standing())?.endpoint, two);
  assert.equal(group.pick([one, two], standing()), undefined);
});

test("who may not be used is not chosen while anybody else is left; then any is, as a last resort", () => {
  const [one, two, three] = [endpoint("one"), endpoint("two"), endpoint("three")];
  const group = new EndpointGroup([one, two, three]);
  const stands = standing({ mayUse: (candidate) => candidate === three });
  assert.deepEqual([...counts(group, stands, 200)], [["three", 200]]);
  assert.deepEqual(group.pick([], stands, dice(0, 0)), { endpoint: three, lastResort: false });
  const resort = group.pick([three], stands);
  assert.ok(resort?.lastResort);
  const nobody = standing({ mayUse: () => false });
  assert.equal(counts(group, nobody, 200).size, 3);
  assert.equal(new EndpointGroup([one]).pick([], nobody)?.lastResort, true);
});

test("the nearest go first; the next nearest only when none of those may be used", () => {
  const distances = new Map([
    ["far", 3],
    ["near1", 0],
    ["middle", 2],
    ["near2", 0],
  ]);
  const all = [...distances.keys()].map((name) => endpoint(name));
  const group = new EndpointGroup(all, ({ workload: { name } }) => distances.get(name) ?? 0);
  assert.deepEqual([...counts(group, standing(), 200).keys()].toSorted(), ["near1", "near2"]);
  const out = new Set(["near1", "near2"]);
  const stands = standing({ mayUse: ({ workload: { name } }) => !out.has(name) });
  assert.deepEqual([...counts(group, stands, 50).keys()], ["middle"]);
  out.add("middle");
  assert.deepEqual([...counts(group, stands, 50).keys()], ["far"]);
  assert.deepEqual([...counts(group, standing(), 50, [all[1] as Endpoint, all[3] as Endpoint]).keys()], ["middle"]);
});

test("a share is drawn by its weight", () => {
  const [most, little] = [endpoint("most"), endpoint("little")];
  const shares: [Share, Share] = [
    { weight: 90, endpoints: [most], prefers: undefined },
    { weight: 10, endpoints: [little], prefers: undefined },
  ];
  const drawn = [0, 0.5, 0.899, 0.901, 0.999].map((at) => pickShare(shares, dice(at)).endpoints[0]);
  assert.deepEqual(drawn, [most, most, most, little, little]);
});
