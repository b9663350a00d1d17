// The budgets of a session, with a clock that stands still.
import { equal, match, ok } from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { SessionGuard } from "./guard.ts";
import { DEFAULT_TUNNEL_LIMITS } from "./limits.ts";

const limits = DEFAULT_TUNNEL_LIMITS;

test("a peer that behaves is never ended", () => {
  const clock = new FakeClock();
  const guard = new SessionGuard(limits, clock);
  guard.settingsAcknowledged();
  for (let second = 0; second < 3_600; second++) {
    for (let i = 0; i < 1_000; i++) equal(guard.head(600).end, undefined);
    equal(guard.earlyReset(), undefined);
    equal(guard.badRequest(), undefined);
    clock.advance(1_000);
    equal(guard.overdue(), undefined);
  }
});

test("ends the session whose SETTINGS are not acknowledged, or that asks for nothing", () => {
  const clock = new FakeClock();
  const silent = new SessionGuard(limits, clock);
  const idle = new SessionGuard(limits, clock);
  idle.settingsAcknowledged();
  clock.advance(limits.settingsTimeoutMs - 1);
  equal(silent.overdue(), undefined);
  equal(idle.overdue(), undefined);
  clock.advance(1);
  equal(silent.overdue()?.code, "MISBEHAVING_PEER");
  equal(idle.overdue()?.code, "REQUEST_TIMEOUT");
  idle.head(1);
  equal(idle.overdue(), undefined);
});

test("counts header bytes until the acknowledgement, and oversized heads always", () => {
  const guard = new SessionGuard(limits, new FakeClock());
  const heads = Math.floor(limits.maxUnacknowledgedHeaderBytes / 60_000);
  for (let i = 0; i < heads; i++) equal(guard.head(60_000).end, undefined);
  match(guard.head(60_000).end?.detail ?? "", /before the SETTINGS acknowledgement/);
  const acknowledged = new SessionGuard(limits, new FakeClock());
  acknowledged.settingsAcknowledged();
  for (let i = 0; i < limits.maxOversizedHeads; i++) {
    const verdict = acknowledged.head(limits.maxHeaderListSize + 1);
    ok(verdict.oversized && verdict.end === undefined);
  }
  equal(acknowledged.head(limits.maxHeaderListSize + 1).end?.code, "MISBEHAVING_PEER");
});

test("budgets of early resets and malformed requests run out", () => {
  const guard = new SessionGuard(limits, new FakeClock());
  for (let i = 0; i < limits.earlyResetBurst; i++) equal(guard.earlyReset(), undefined);
  equal(guard.earlyReset()?.code, "MISBEHAVING_PEER");
  for (let i = 0; i < limits.badRequestBurst; i++) equal(guard.badRequest(), undefined);
  equal(guard.badRequest()?.code, "MISBEHAVING_PEER");
});
