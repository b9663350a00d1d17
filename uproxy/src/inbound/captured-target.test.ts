// What the original destination of a captured connection means.
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import { id, ip, snapshot, workload } from "@culvert/test/support/fixtures.ts";
import { deriveState } from "../state.ts";
import { capturedTarget } from "./inbound-target.ts";

const mesh = snapshot({
  workloads: [workload("reviews", { addresses: ["10.0.0.5", "fd00::5"] }), workload("b", { addresses: ["10.0.0.6"] })],
});
const identity = {
  version: 1,
  svid: { id: id("reviews") },
  bundles: new Map(),
  aliases: new Set(),
} as unknown as Identity;
const state = deriveState(mesh, identity, { configured: undefined, addresses: [ip("10.0.0.5")] });
const lost = deriveState(mesh, identity, { configured: undefined, addresses: [ip("192.0.2.1")] });
const tcp = (host: string, port: number) => ({ kind: "tcp", host, port }) as const;
const notTo = [tcp("", 15_006), tcp("10.0.0.5", 15_000)];

const ROWS: readonly (readonly [address: string, port: number, app: string | undefined, expected: string])[] = [
  ["10.0.0.5", 8080, undefined, "10.0.0.5:8080"],
  ["fd00::5", 8080, undefined, "fd00::5:8080"],
  ["10.0.0.5", 8080, "127.0.0.1", "127.0.0.1:8080"],
  ["10.0.0.5", 15_006, undefined, "SELF_CALL"],
  ["10.0.0.5", 15_006, "127.0.0.1", "SELF_CALL"],
  ["10.0.0.5", 15_000, undefined, "SELF_CALL"],
  ["10.0.0.6", 8080, undefined, "DESTINATION_NOT_MINE"],
  ["10.0.0.6", 15_006, undefined, "SELF_CALL"],
  ["127.0.0.1", 8080, undefined, "DESTINATION_NOT_MINE"],
  ["169.254.169.254", 80, undefined, "DESTINATION_NOT_MINE"],
  ["0.0.0.0", 0, undefined, "DESTINATION_NOT_MINE"],
];

for (const [address, port, host, expected] of ROWS) {
  test(`${address}:${port} with the app at ${host ?? "the same address"} means ${expected}`, () => {
    const target = capturedTarget(state, { ip: ip(address), port }, { host, notTo });
    assert.equal(isFailure(target) ? target.code : `${target.host}:${target.port}`, expected);
  });
}

test("own ports come before the own workload, and both before the address", () => {
  const codes = [15_006, 8080].map((port) => {
    const target = capturedTarget(lost, { ip: ip("10.0.0.6"), port }, { host: undefined, notTo });
    return isFailure(target) ? target.code : "open";
  });
  assert.deepEqual(codes, ["SELF_CALL", "WORKLOAD_UNKNOWN"]);
});
