import assert from "node:assert/strict";
import { test } from "node:test";
import { distance, formatLocality, localityOf, type Place } from "./locality.ts";

function place(locality: string | undefined, node?: string): Place {
  return { locality: localityOf(locality, new Map()), node };
}

test("what the entry says goes before its labels, part by part", () => {
  const labels = new Map([
    ["topology.kubernetes.io/region", "r9"],
    ["topology.kubernetes.io/zone", "z9"],
    ["topology.istio.io/subzone", "s9"],
  ]);
  assert.deepEqual(localityOf("r1/z1/s1", labels), { region: "r1", zone: "z1", subzone: "s1" });
  assert.deepEqual(localityOf("r1", labels), { region: "r1", zone: "z9", subzone: "s9" });
  assert.deepEqual(localityOf(undefined, labels), { region: "r9", zone: "z9", subzone: "s9" });
  assert.deepEqual(localityOf(undefined, new Map()), { region: undefined, zone: undefined, subzone: undefined });
});

test("the node is nearest, then the zone, the region, the rest", () => {
  const here = place("r1/z1", "n1");
  const rows: [string, Place, number, number][] = [
    ["the same node", place("r1/z1", "n1"), 0, 1],
    ["another node of the zone", place("r1/z1", "n2"), 1, 1],
    ["another zone of the region", place("r1/z2", "n3"), 2, 2],
    ["another region with a zone of that name", place("r2/z1", "n4"), 3, 3],
    ["nowhere", place(undefined), 3, 3],
  ];
  for (const [what, there, byNode, byZone] of rows) {
    assert.equal(distance(here, there, "same-node"), byNode, what);
    assert.equal(distance(here, there, "same-zone"), byZone, what);
  }
});

test("what is not known is not near", () => {
  assert.equal(distance(place(undefined), place(undefined), "same-node"), 3);
  assert.equal(distance(place("r1"), place("r1"), "same-zone"), 2);
});

test("a locality is written without what is missing at its end", () => {
  assert.equal(formatLocality(localityOf("r/z", new Map())), "r/z");
  assert.equal(formatLocality(localityOf(undefined, new Map())), "");
});
