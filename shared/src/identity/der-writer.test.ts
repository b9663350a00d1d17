import assert from "node:assert/strict";
import { test } from "node:test";
import { DER, readElement } from "./der.ts";
import { derBitString, derElement, derExtension, derInteger, derOid, derTime } from "./der-writer.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("lengths are the shortest, as the reader wants them", () => {
  for (const length of [0, 1, 127, 128, 255, 256, 65_535, 65_536, 100_000]) {
    const bytes = derElement(DER.octetString, Buffer.alloc(length));
    const element = readElement(bytes, 0, bytes.length);
    assert.equal(element?.end, bytes.length, String(length));
    assert.equal((element?.end ?? 0) - (element?.start ?? 0), length);
  }
});

test("integers are positive and minimal", () => {
  assert.equal(hex(derInteger(Buffer.from("00007f", "hex"))), "02017f");
  assert.equal(hex(derInteger(Buffer.from("80", "hex"))), "02020080");
  assert.equal(hex(derInteger(Buffer.from("0000", "hex"))), "020100");
  assert.equal(hex(derInteger(Buffer.of())), "020100");
  assert.equal(hex(derInteger(Buffer.from("ff01", "hex"))), "020300ff01");
});

test("times have two digits of the year until 2049, and four after it", () => {
  assert.equal(derTime(Date.UTC(2026, 10, 26, 1, 2, 3)).toString("latin1", 2), "261126010203Z");
  assert.equal(derTime(Date.UTC(2026, 10, 26))[0], 0x17);
  assert.equal(derTime(Date.UTC(2050, 0, 1)).toString("latin1", 2), "20500101000000Z");
  assert.equal(derTime(Date.UTC(2050, 0, 1))[0], 0x18);
});

test("the rest is as it stands in certificates", () => {
  assert.equal(hex(derOid("551d11")), "0603551d11");
  assert.equal(hex(derBitString(Buffer.of(1, 2))), "0303000102");
  assert.equal(hex(derExtension("551d13", true, Buffer.from("3000", "hex"))), "300c0603551d130101ff04023000");
  assert.equal(hex(derExtension("551d0e", false, Buffer.from("0400", "hex"))), "30090603551d0e04020400");
});
