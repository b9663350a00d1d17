// The four outcomes on each way in that can tell them apart.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure, fail } from "@culvert/shared/failure/failure.ts";
import { connectReply } from "./http-connect.ts";
import { outcomeOf } from "./outcome.ts";
import { socksReply } from "./socks5.ts";

const ROWS: readonly [what: string, failure: Failure, socks: number, connect: number][] = [
  ["refused", new Failure("PEER_UNAVAILABLE", "503 APP_REFUSED", "APP_REFUSED"), 5, 503],
  ["refused, by a peer that does not say so", fail("PEER_UNAVAILABLE", "503"), 5, 503],
  ["timed out", new Failure("PEER_UNAVAILABLE", "503 APP_TIMEOUT", "APP_TIMEOUT"), 6, 504],
  ["unreachable", new Failure("PEER_UNAVAILABLE", "503 APP_UNREACHABLE", "APP_UNREACHABLE"), 4, 503],
  ["reset", fail("PEER_RESET", ""), 1, 502],
  ["denied", fail("PEER_DENIED", "401"), 2, 403],
  ["the peer proxy refused", fail("PEER_REFUSED", ""), 5, 503],
  ["the peer proxy timed out", fail("PEER_TIMEOUT", ""), 6, 504],
];

for (const [what, failure, socks, connect] of ROWS) {
  test(`${what}: SOCKS5 reply ${socks}, CONNECT status ${connect}`, () => {
    assert.equal(socksReply(failure)[1], socks);
    assert.match(connectReply(failure).toString(), new RegExp(`^HTTP/1\\.1 ${connect} `));
  });
}

test("what a peer says of anything but its application is not repeated", () => {
  assert.equal(outcomeOf(new Failure("PEER_UNAVAILABLE", "", "DENIED_BY_POLICY")), "PEER_UNAVAILABLE");
});
