import assert from "node:assert/strict";
import { test } from "node:test";
import { ip, workload } from "@culvert/test/support/fixtures.ts";
import { pickEndpoint, pickShare } from "./pick-endpoint.ts";
import type { Endpoint } from "./resolve.ts";

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

test("the less busy of two wins, wherever the dice put it", () => {
  const [busy, idle] = [endpoint("busy"), endpoint("idle")];
  const inFlight = (candidate: Endpoint): number => (candidate === busy ? 5 : 1);
  for (const chance of [dice(0, 0), dice(0.99, 0)])
    assert.equal(pickEndpoint([busy, idle], [], inFlight, chance), idle);
});

test("load is measured per weight", () => {
  const [large, small] = [endpoint("large", 4), endpoint("small", 1)];
  const inFlight = (candidate: Endpoint): number => (candidate === large ? 6 : 2);
  assert.equal(pickEndpoint([large, small], [], inFlight, dice(0.5, 0)), large);
});

test("weights decide how often an endpoint is drawn", () => {
  const endpoints = [endpoint("one", 1), endpoint("three", 3), endpoint("none", 0)];
  const counts = new Map<string, number>();
  let seed = 7;
  const random = (): number => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
  for (let index = 0; index < 4_000; index += 1) {
    const picked = pickEndpoint(endpoints, [], () => 0, random);
    counts.set(picked?.workload.name ?? "", (counts.get(picked?.workload.name ?? "") ?? 0) + 1);
  }
  assert.ok(Math.abs((counts.get("three") ?? 0) - 3_000) < 200, JSON.stringify([...counts]));
});

test("endpoints that were tried are left out, and none is left at the end", () => {
  const [one, two] = [endpoint("one"), endpoint("two")];
  assert.equal(
    pickEndpoint([one, two], [one], () => 0),
    two,
  );
  assert.equal(
    pickEndpoint([one, two], [one, two], () => 0),
    undefined,
  );
});

test("a share is drawn by its weight", () => {
  const [most, little] = [endpoint("most"), endpoint("little")];
  const shares = [
    { weight: 90, endpoints: [most] },
    { weight: 10, endpoints: [little] },
  ];
  const drawn = [0, 0.5, 0.899, 0.901, 0.999].map((at) => pickShare(shares, dice(at))[0]);
  assert.deepEqual(drawn, [most, most, most, little, little]);
});
