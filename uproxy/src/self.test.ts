import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { id, ip, snapshot, workload } from "@culvert/test/support/fixtures.ts";
import type { TrustDomain } from "@culvert/shared/identity/spiffe-id.ts";
import { findSelf, type SelfHints } from "./self.ts";

const { directory } = snapshot({
  workloads: [
    workload("reviews-1", { addresses: ["10.0.0.5"], serviceAccount: "reviews" }),
    workload("reviews-2", { addresses: ["10.0.0.6"], serviceAccount: "reviews" }),
    workload("ratings-1", { addresses: ["10.0.0.5"], serviceAccount: "ratings" }),
    workload("foreign", {
      addresses: ["10.0.0.8"],
      serviceAccount: "reviews",
      trustDomain: "theirs.test" as TrustDomain,
    }),
    workload("twin-a", { addresses: ["10.0.0.7"], serviceAccount: "twin" }),
    workload("twin-b", { addresses: ["10.0.0.7"], serviceAccount: "twin" }),
  ],
});

function find(hints: Partial<SelfHints>): string {
  const found = findSelf(directory, { id: id("default/reviews"), configured: undefined, addresses: [], ...hints });
  return isFailure(found) ? found.toString() : found.uid;
}

test("finds the workload that has its account and its address", () => {
  assert.equal(find({ addresses: [ip("192.0.2.1"), ip("10.0.0.6")] }), "default/reviews-2");
  assert.equal(find({ addresses: [ip("10.0.0.5")] }), "default/reviews-1");
});

test("the configured workload wins over addresses", () => {
  const configured = { namespace: "default", name: "reviews-2" };
  assert.equal(find({ configured, addresses: [ip("10.0.0.5")] }), "default/reviews-2");
});

const refused: readonly [string, Partial<SelfHints>, RegExp][] = [
  [
    "a configured workload that does not exist",
    { configured: { namespace: "default", name: "x" } },
    /no workload default\/x/,
  ],
  [
    "a configured workload of another account",
    { configured: { namespace: "default", name: "ratings-1" } },
    /account default\/ratings, the certificate says/,
  ],
  ["an entry of another trust domain", { addresses: [ip("10.0.0.8")] }, /10\.0\.0\.8: set workload/],
  ["no entry with one of its addresses", { addresses: [ip("10.0.0.9")] }, /10\.0\.0\.9: set workload/],
  [
    "two entries of one account at one address",
    { id: id("default/twin"), addresses: [ip("10.0.0.7")] },
    /twin-a, default\/twin-b/,
  ],
];

for (const [name, hints, text] of refused) {
  test(`does not guess: ${name}`, () => assert.match(find(hints), text));
}
