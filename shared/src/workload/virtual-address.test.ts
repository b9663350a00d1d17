// What must never change: the address of a name, and that an address does not pass from one name to another.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import { ip } from "@culvert/test/support/fixtures.ts";
import { mayBeVirtual, virtualAddresses } from "./virtual-address.ts";

const REVIEWS = { v4: "241.63.229.105", v6: "fd63:756c:7665:7282:b752:372d:eb64:6bf3" };
const RATINGS = { v4: "241.201.64.217", v6: "fd63:756c:7665:b10b:7970:a21b:dbe0:a74b" };

test("a name has the same addresses everywhere and for ever", () => {
  const given = virtualAddresses(["reviews.default.svc.cluster.local", "ratings.shop.svc.cluster.local"]);
  assert.deepEqual(Object.fromEntries(given), {
    "reviews.default.svc.cluster.local": REVIEWS,
    "ratings.shop.svc.cluster.local": RATINGS,
  });
});

test("virtual addresses are known for such, and others are not", () => {
  for (const { v4, v6 } of virtualAddresses(["a", "b"]).values()) {
    assert.ok(mayBeVirtual(v4));
    assert.ok(mayBeVirtual(v6));
  }
  for (const other of ["24.1.0.1", "240.240.0.1", "249.0.0.1", "10.0.0.1", "::1", "fd63:756c:7666::1"]) {
    assert.ok(!mayBeVirtual(ip(other)), other);
  }
});

describe("names that meet", () => {
  // So many names that some of them want the same one of 2^24 addresses.
  const names = Array.from({ length: 20_000 }, (_, index) => `service-${index}.default.svc.cluster.local`);
  const all = virtualAddresses(names);

  test("all get an address, each another", () => {
    assert.equal(all.size, names.length);
    assert.equal(new Set([...all.values()].map(({ v4 }) => v4)).size, names.length);
    assert.equal(new Set([...all.values()].map(({ v6 }) => v6)).size, names.length);
    assert.ok(
      [...all.values()].some(({ v4 }) => v4.startsWith("242.")),
      "some met",
    );
  });

  test("the order in which they are named does not matter", () => {
    const reversed = virtualAddresses(names.toReversed());
    for (const [name, { v4 }] of all) assert.equal(reversed.get(name)?.v4, v4);
  });

  test("a name that is added takes no address that another has had", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: names.length - 1 }), { maxLength: 5 }), (missing) => {
        const fewer = new Set(names);
        for (const index of missing) fewer.delete(names[index] ?? "");
        const before = new Map([...virtualAddresses(fewer)].map(([name, { v4 }]) => [v4, name]));
        for (const [name, { v4 }] of all) {
          const had = before.get(v4);
          assert.ok(had === undefined || had === name, `${v4} went from ${had} to ${name}`);
        }
      }),
      { numRuns: 5 },
    );
  });
});
