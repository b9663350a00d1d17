import assert from "node:assert/strict";
import { test } from "node:test";
import { testAuthority } from "@culvert/test/support/ca.ts";
import { testIdentity } from "@culvert/test/support/identity.ts";
import { fail } from "../failure/failure.ts";
import type { Identity } from "../identity/source.ts";
import { FakeClock } from "../net/fake-clock.ts";
import { Log } from "../observe/log.ts";
import { IdentityReport } from "./identity-report.ts";

const HOUR_MS = 3_600_000;
const authority = await testAuthority("ours.test");

interface Lab {
  readonly clock: FakeClock;
  readonly report: IdentityReport;
  readonly lines: Readonly<Record<string, unknown>>[];
  readonly codes: string[];
  readonly now: { identity: Identity | undefined };
}

function lab(): Lab {
  const clock = new FakeClock(Math.ceil(Date.now() / 1_000) * 1_000);
  const lines: Readonly<Record<string, unknown>>[] = [];
  const codes: string[] = [];
  const now: Lab["now"] = { identity: undefined };
  const write = (line: string): boolean => {
    lines.push(JSON.parse(line) as Record<string, unknown>);
    return true;
  };
  const report = new IdentityReport({
    log: new Log({ level: "info", write, clock }),
    clock,
    countFailure: ({ code }) => void codes.push(code),
    identity: () => now.identity,
  });
  return { clock, report, lines, codes, now };
}

function lasting(clock: FakeClock, ms: number): Promise<Identity> {
  const validity = { notBefore: new Date(clock.now()), notAfter: new Date(clock.now() + ms) };
  return testIdentity(authority, "default", "reviews", [], validity);
}

test("at 50, 20 and 5 percent of its life a certificate is told of, once each, and the next one anew", async () => {
  const { clock, report, lines, now } = lab();
  clock.advance(10_000);
  assert.deepEqual(lines, [], "nothing to tell of");
  now.identity = await lasting(clock, HOUR_MS);
  const shares: unknown[] = [];
  for (const minute of [29, 31, 40, 47, 49, 56, 58, 62, 90]) {
    clock.advance(minute * 60_000 - (clock.now() - now.identity.svid.notBefore));
    shares.push([minute, ...lines.splice(0).map((line) => `${String(line["level"])} ${String(line["left_percent"])}`)]);
  }
  assert.deepEqual(shares, [[29], [31, "info 50"], [40], [47], [49, "warn 20"], [56], [58, "warn 5"], [62], [90]]);
  now.identity = await lasting(clock, HOUR_MS);
  clock.advance(58 * 60_000);
  assert.deepEqual(
    lines.map((line) => line["left_percent"]),
    [50, 20, 5],
  );
  report.close();
  assert.equal(clock.pending, 0);
});

test("one that has little left from the start, or after a jump of the clock, is told of by its last share only", async () => {
  const { clock, report, lines, now } = lab();
  now.identity = await lasting(clock, HOUR_MS);
  clock.jump(57.5 * 60_000);
  clock.advance(2_000);
  assert.deepEqual(
    lines.map((line) => line["left_percent"]),
    [5],
  );
  report.close();
});

test("changes and failures are told and counted, failures by their codes", async () => {
  const { clock, report, lines, codes } = lab();
  const identity = await lasting(clock, HOUR_MS);
  report.take({ kind: "changed", identity });
  report.take({ kind: "trust-changed", identity });
  report.take({ kind: "unwatched", folder: "/there", reason: "no" });
  report.take({ kind: "kept", failure: fail("IDENTITY_MISMATCH", "another's") });
  report.take({ kind: "awaited", failure: fail("IDENTITY_NOT_GIVEN", "down") });
  report.take({ kind: "kept", failure: fail("IDENTITY_MISMATCH", "another's again") });
  report.take({ kind: "expired", failure: fail("IDENTITY_EXPIRED", "over") });
  assert.deepEqual(
    { changes: report.counts.changes, failures: Object.fromEntries(report.counts.failures) },
    { changes: 2, failures: { IDENTITY_MISMATCH: 2, IDENTITY_NOT_GIVEN: 1, IDENTITY_EXPIRED: 1 } },
  );
  assert.deepEqual(codes, ["IDENTITY_MISMATCH", "IDENTITY_NOT_GIVEN", "IDENTITY_MISMATCH", "IDENTITY_EXPIRED"]);
  assert(!JSON.stringify(lines).includes("PRIVATE KEY"));
  report.close();
});
