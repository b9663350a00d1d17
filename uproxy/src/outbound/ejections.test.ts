import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { DEFAULT_TUNNEL_LIMITS } from "@culvert/shared/tunnel/limits.ts";
import { ip, workload } from "@culvert/test/support/fixtures.ts";
import { Ejections } from "./ejections.ts";
import type { Endpoint } from "./hop.ts";

const LIMITS = {
  ...DEFAULT_TUNNEL_LIMITS,
  ejectAfter: 3,
  ejectionMs: 10_000,
  maxEjectionMs: 40_000,
  maxEjectedPercent: 67,
};
const REFUSED = fail("PEER_REFUSED", "10.0.0.1:15008");

function endpoints(count: number): [Endpoint, ...Endpoint[]] {
  return Array.from({ length: count }, (_, index) => ({
    workload: workload(`app-${index}`),
    ip: ip(`10.0.0.${index + 1}`),
    port: 15008,
    authority: `10.0.0.${index + 1}:80`,
    expected: [],
  })) as unknown as [Endpoint, ...Endpoint[]];
}

function scene(limits = LIMITS) {
  const clock = new FakeClock();
  const told: string[] = [];
  const ejections = new Ejections(limits, clock, {
    onEjected: ({ workload: { name } }) => told.push(`out ${name}`),
    onReadmitted: ({ workload: { name } }) => told.push(`in ${name}`),
    onLastResort: (group) => told.push(`last resort of ${group.length}`),
  });
  return { clock, told, ejections };
}

/** Fails as often as it takes. */
function eject(ejections: Ejections, endpoint: Endpoint, group: readonly Endpoint[]): void {
  for (let count = 0; count < LIMITS.ejectAfter; count += 1) ejections.failed(endpoint, group, REFUSED);
}

test("failures in a row put an endpoint out, a success between them does not", () => {
  const { ejections, told } = scene();
  const group = endpoints(3);
  const [first] = group;
  ejections.failed(first, group, REFUSED);
  ejections.failed(first, group, REFUSED);
  ejections.succeeded(first);
  ejections.failed(first, group, REFUSED);
  ejections.failed(first, group, REFUSED);
  assert.ok(ejections.mayUse(first));
  ejections.failed(first, group, REFUSED);
  assert.ok(!ejections.mayUse(first));
  assert.ok(ejections.mayUse(group[1] as Endpoint));
  assert.deepEqual(told, ["out app-0"]);
  assert.match(
    ejections.describe(first) ?? "",
    /^ejected for another \d+ s after 3 failures in a row, the last PEER_REFUSED$/,
  );
  assert.equal(ejections.count, 1);
});

test("one that is due gets one connection to try: success readmits it, failure puts it out for longer", () => {
  const { clock, ejections, told } = scene();
  const group = endpoints(3);
  const [first] = group;
  eject(ejections, first, group);
  clock.advance(LIMITS.ejectionMs);
  assert.ok(ejections.mayUse(first));
  ejections.chosen(first);
  assert.ok(!ejections.mayUse(first), "a second connection does not try too");
  ejections.failed(first, group, REFUSED);
  clock.advance(LIMITS.ejectionMs - 1);
  assert.ok(!ejections.mayUse(first), "twice as long, less half of it by chance");
  clock.advance(LIMITS.ejectionMs + 1);
  ejections.chosen(first);
  ejections.succeeded(first);
  assert.ok(ejections.mayUse(first));
  assert.equal(ejections.describe(first), undefined);
  assert.deepEqual(told, ["out app-0", "out app-0", "in app-0"]);
  // It comes and goes: the next time is longer again, and never longer than the bound.
  for (let time = 0; time < 5; time += 1) {
    eject(ejections, first, group);
    clock.advance(LIMITS.maxEjectionMs);
    assert.ok(ejections.mayUse(first));
    ejections.chosen(first);
    ejections.succeeded(first);
  }
});

test("a trial that says nothing of the endpoint leaves it to the next one", () => {
  const { clock, ejections } = scene();
  const group = endpoints(3);
  const [first] = group;
  eject(ejections, first, group);
  clock.advance(LIMITS.ejectionMs);
  ejections.chosen(first);
  assert.ok(ejections.failed(first, group, fail("TOO_MANY_WAITERS", "")));
  assert.ok(ejections.mayUse(first));
});

test("at most a share of the endpoints is out, so never the only one", () => {
  for (const [count, most] of [
    [1, 0],
    [2, 1],
    [3, 2],
    [10, 6],
  ] as const) {
    const { ejections } = scene();
    const group = endpoints(count);
    for (const endpoint of group) eject(ejections, endpoint, group);
    assert.equal(ejections.count, most, `${most} of ${count}`);
    assert.equal(ejections.total, most);
  }
});

test("when all are out, that is told once until one comes back", () => {
  const { clock, ejections, told } = scene({ ...LIMITS, maxEjectedPercent: 100 });
  const group = endpoints(2);
  for (const endpoint of group) eject(ejections, endpoint, group);
  ejections.usedLastResort(group);
  ejections.usedLastResort(group);
  clock.advance(LIMITS.ejectionMs);
  ejections.succeeded(group[0]);
  ejections.usedLastResort(group);
  assert.deepEqual(told, ["out app-0", "out app-1", "last resort of 2", "in app-0", "last resort of 2"]);
});

test("what may be tried elsewhere, and what counts against the endpoint", () => {
  const rows = [
    ["PEER_REFUSED", true, true],
    ["PEER_TIMEOUT", true, true],
    ["PEER_UNREACHABLE", true, true],
    ["PEER_TLS_FAILURE", true, true],
    ["PEER_REFUSED_STREAM", true, true],
    ["PEER_LOST", true, true],
    ["PEER_UNAVAILABLE", true, true],
    ["IDENTITY_MISMATCH", true, true],
    ["IDENTITY_EXPIRED", true, true],
    ["IDENTITY_REVOKED", true, true],
    ["APP_REFUSED", true, true],
    ["PEER_DENIED", false, false],
    ["PEER_NO_DESTINATION", false, true],
    ["PEER_BAD_REQUEST", false, true],
    ["PEER_RESET", false, true],
    ["TOO_MANY_WAITERS", true, false],
    ["INTERNAL", false, false],
  ] as const;
  for (const [code, elsewhere, counts] of rows) {
    const { ejections } = scene();
    const group = endpoints(3);
    for (let time = 0; time < 3; time += 1)
      assert.equal(ejections.failed(group[0], group, fail(code, "")), elsewhere, code);
    assert.equal(!ejections.mayUse(group[0]), counts, code);
  }
});

test("what is remembered is bounded", () => {
  const { ejections } = scene();
  const group = endpoints(3);
  for (let port = 1; port <= 5_000; port += 1) ejections.failed({ ...group[0], port }, group, REFUSED);
  eject(ejections, group[0], group);
  assert.ok(!ejections.mayUse(group[0]));
});
