import assert from "node:assert/strict";
import { test } from "node:test";
import { assert as check, nat, property, uint8Array } from "fast-check";
import { mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import { mintCrl, rawExtension } from "@culvert/test/support/crl.ts";
import type { CrlSpec } from "@culvert/test/support/crl.ts";
import { must } from "@culvert/test/support/identity.ts";
import { isFailure } from "../../failure/failure.ts";
import { revocationListFromDer } from "./crl.ts";

const ours = await testAuthority("ours.test");
const minted = await mintSvid(ours, svidName(ours, "default", "reviews"));

test("a list is read as it was written", async () => {
  const thisUpdate = new Date("2026-11-01T10:20:30Z");
  const nextUpdate = new Date("2051-01-02T03:04:05Z");
  const der = await mintCrl(ours.intermediate, {
    revoked: [minted],
    serials: ["00ff", "01"],
    number: 300,
    thisUpdate,
    nextUpdate,
  });
  const list = must(revocationListFromDer(der));
  const serial = minted.leaf.serialNumber.toLowerCase().replace(/^0+/, "");
  assert.deepEqual([...list.serials].map((each) => each.replace(/^0+/, "")).toSorted(), [serial, "1", "ff"].toSorted());
  assert.equal(list.number, 300n);
  assert.equal(list.thisUpdate, thisUpdate.getTime());
  assert.equal(list.nextUpdate, nextUpdate.getTime(), "after 2049 the time has another form");
  assert.match(list.issuerKey ?? "", /^[0-9a-f]{40}$/);
  assert.equal(list.signed.algorithm, "2a8648ce3d040302");
});

test("a list without entries and without number is a list", async () => {
  const list = must(revocationListFromDer(await mintCrl(ours.root, { number: undefined })));
  assert.equal(list.serials.size, 0);
  assert.equal(list.number, undefined);
});

test("ten thousand entries are read at once", async () => {
  const serials = Array.from({ length: 10_000 }, (_, index) => (index + 0x10_000).toString(16).padStart(8, "0"));
  const der = await mintCrl(ours.root, { serials });
  assert.equal(must(revocationListFromDer(der)).serials.size, serials.length);
});

const refusals: readonly [what: string, spec: CrlSpec, reason: RegExp][] = [
  ["a delta list", { extensions: [rawExtension("2.5.29.27", true, [0x02, 0x01, 0x01])] }, /551d1b is critical/],
  [
    "a list for another's certificates",
    { extensions: [rawExtension("2.5.29.28", true, [0x30, 0x00])] },
    /551d1c is critical/,
  ],
  [
    "an entry for another issuer",
    { serials: ["05"], entryExtensions: [rawExtension("2.5.29.29", true, [0x30, 0x00])] },
    /of an entry is critical/,
  ],
  [
    "a number that is none",
    { number: undefined, extensions: [rawExtension("2.5.29.20", false, [0x04, 0x01, 0x01])] },
    /number is malformed/,
  ],
];

for (const [what, spec, reason] of refusals) {
  test(`refused: ${what}`, async () => {
    const list = revocationListFromDer(await mintCrl(ours.root, spec));
    assert(isFailure(list));
    assert.equal(list.code, "IDENTITY_MALFORMED");
    assert.match(list.detail, reason);
  });
}

test("reasons and dates of entries do not matter", async () => {
  const der = await mintCrl(ours.root, {
    serials: ["05"],
    entryExtensions: [rawExtension("2.5.29.21", false, [0x0a, 0x01, 0x06])],
  });
  assert.deepEqual([...must(revocationListFromDer(der)).serials], ["05"]);
});

test("whatever the bytes are, the answer is a list or a failure", async () => {
  const good = await mintCrl(ours.root, { serials: ["05", "1234"] });
  for (const value of [0x00, 0x01, 0x02, 0x1f, 0x7f, 0x80, 0xff]) {
    for (const at of good.keys()) {
      const changed = Buffer.from(good);
      changed[at] = value;
      revocationListFromDer(changed);
    }
  }
  check(
    property(nat(good.length - 1), nat(255), nat(good.length), (at, value, length) => {
      const changed = Buffer.from(good);
      changed[at] = value;
      for (const der of [changed, changed.subarray(0, length), Buffer.concat([changed, changed])]) {
        const list = revocationListFromDer(der);
        if (!isFailure(list)) assert(list.serials.size <= 2);
      }
    }),
    { numRuns: 2000 },
  );
  check(
    property(uint8Array({ maxLength: 200 }), (bytes) => {
      assert(isFailure(revocationListFromDer(bytes)));
    }),
  );
});
