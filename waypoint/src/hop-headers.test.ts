import assert from "node:assert/strict";
import { test } from "node:test";
import { PEER } from "./exchange-fixtures.ts";
import { HopHeaders } from "./hop-headers.ts";

test("says who called, through what, under which id", () => {
  assert.equal(
    new HopHeaders(PEER).insert("", "", "id-1"),
    "x-forwarded-for: 10.0.0.7\r\n" +
      "x-forwarded-client-cert: By=spiffe://cluster.local/ns/default/sa/waypoint;URI=spiffe://cluster.local/ns/default/sa/client\r\n" +
      "x-culvert-via: waypoint.default/reviews.default\r\n" +
      "x-request-id: id-1\r\n",
  );
});

test("appends to what came with the request", () => {
  const lines = new HopHeaders({ ...PEER, id: undefined }).insert("1.2.3.4", "a/b", "id-1").split("\r\n");
  assert.deepEqual(lines, [
    "x-forwarded-for: 1.2.3.4, 10.0.0.7",
    "x-culvert-via: a/b, waypoint.default/reviews.default",
    "x-request-id: id-1",
    "",
  ]);
});

test("an identity of ours that is not known is left out", () => {
  assert.match(
    new HopHeaders({ ...PEER, ownId: undefined }).insert("", "", "x"),
    /client-cert: URI=spiffe:\S+client\r\n/,
  );
});

test("loops", () => {
  const hop = new HopHeaders(PEER);
  const own = "waypoint.default/reviews.default";
  for (const [via, loops] of [
    ["", false],
    ["a/a", false],
    ["a/a, b/b, c/c", false],
    ["a/a,b/b,c/c,d/d", true],
    ["a/a, b/b, c/c, d/d, e/e, f/f", true],
    [own, true],
    [`a/a ,${own} , b/b`, true],
    [`${own}x`, false],
    ["waypoint.default/ratings.default", false],
  ] as const) {
    assert.equal(hop.loop(via, 4) !== undefined, loops, via);
  }
});
