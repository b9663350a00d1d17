// Who may come in: every cell of (plaintext, mutual TLS) by PeerAuthentication by policy.
import assert from "node:assert/strict";
import { test } from "node:test";
import { buildSnapshot } from "@culvert/shared/config/build.ts";
import { parseText } from "@culvert/shared/config/resources/text-fixtures.ts";
import type { Identity } from "@culvert/shared/identity/source.ts";
import type { SpiffeId } from "@culvert/shared/identity/spiffe-id.ts";
import { id, ip } from "@culvert/test/support/fixtures.ts";
import {
  TABLE,
  TABLE_APP,
  TABLE_CALLER,
  TABLE_PORT,
  type TableRow,
} from "@culvert/test/support/peer-authentication-table.ts";
import { workloadEntry } from "@culvert/test/support/resources.ts";
import { deriveState, judge, type UproxyState } from "./state.ts";

const identity = {
  version: 1,
  svid: { id: id(TABLE_APP) },
  bundles: new Map(),
  aliases: new Set(),
} as unknown as Identity;

function stateOf({ resources }: TableRow): UproxyState {
  const all = [workloadEntry(TABLE_APP, "10.0.0.5", { serviceAccount: TABLE_APP }), ...resources];
  const text = all.map((resource) => JSON.stringify(resource)).join("\n---\n");
  const snapshot = buildSnapshot(1, parseText(text), () => []);
  return deriveState(snapshot, identity, { configured: undefined, addresses: [ip("10.0.0.5")] });
}

function outcome(state: UproxyState, principal: SpiffeId | undefined): string {
  const facts = { sourceIp: ip("10.0.0.9"), destinationIp: ip("10.0.0.5"), destinationPort: TABLE_PORT };
  const verdict = judge(state, { ...facts, principal });
  return verdict.allowed ? "open" : verdict.failure.code;
}

for (const row of TABLE) {
  test(`${row.name}: plaintext ${row.plaintext}, mutual TLS ${row.mtls}`, () => {
    const state = stateOf(row);
    assert.equal(outcome(state, undefined), row.plaintext);
    assert.equal(outcome(state, id(TABLE_CALLER)), row.mtls);
  });
}

test("the table has every combination once", () => {
  assert.equal(TABLE.length, 56);
  assert.equal(new Set(TABLE.map(({ name }) => name)).size, TABLE.length);
});
