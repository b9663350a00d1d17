// Our own answers: what they say, and how large they may be.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ip } from "@culvert/test/support/fixtures.ts";
import { addressAnswer, errorAnswer, malformedAnswer } from "./answer.ts";
import { query, readAnswer } from "./dns-fixtures.ts";
import { readQuery, type Query } from "./message.ts";

function read(bytes: Buffer): Query {
  const found = readQuery(bytes);
  assert.ok(typeof found === "object");
  return found;
}

const many = Array.from({ length: 100 }, (_, index) => ip(`10.0.0.${index}`));

test("addresses, authoritatively, under the question as it was spelled", () => {
  const asked = query("ReViews", { id: 77 });
  const reply = addressAnswer(asked, read(asked), [ip("10.0.0.1"), ip("10.0.0.2")], "udp");
  assert.deepEqual(readAnswer(reply), {
    id: 77,
    rcode: 0,
    authoritative: true,
    truncated: false,
    addresses: ["10.0.0.1", "10.0.0.2"],
    hasEdns: false,
  });
  assert.equal(reply.toString("latin1", 13, 20), "ReViews");
  assert.equal(reply.readUInt16BE(2), 0x8580, "QR AA RD RA");
  assert.equal(reply.readUInt32BE(reply.length - 10), 30, "seconds");
});

test("IPv6, and no such data", () => {
  const asked = query("a", { type: 28 });
  const reply = addressAnswer(asked, read(asked), [ip("2001:db8::1")], "udp");
  assert.deepEqual(readAnswer(reply).addresses, ["32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.1"]);
  const none = readAnswer(addressAnswer(asked, read(asked), [], "udp"));
  assert.deepEqual([none.rcode, none.authoritative, none.addresses], [0, true, []]);
});

describe("what does not fit is left out and said so", () => {
  const rows: [string, Buffer, "udp" | "tcp", number, number, boolean][] = [
    ["512 bytes without EDNS", query("a"), "udp", 512, 30, true],
    ["what EDNS offers", query("a", { udpBytes: 800 }), "udp", 800, 48, true],
    ["less than 512 is no offer", query("a", { udpBytes: 100 }), "udp", 512, 30, true],
    ["never more than passes in one piece", query("a", { udpBytes: 4096 }), "udp", 1232, 75, true],
    ["all of it by TCP", query("a"), "tcp", 65_535, 100, false],
  ];
  for (const [name, asked, transport, most, count, truncated] of rows) {
    test(name, () => {
      const reply = addressAnswer(asked, read(asked), many, transport);
      assert.ok(reply.length <= most, String(reply.length));
      assert.equal(readAnswer(reply).addresses.length, count);
      assert.equal(readAnswer(reply).truncated, truncated);
    });
  }

  test("by TCP as much as a message holds", () => {
    const asked = query("a");
    const reply = addressAnswer(
      asked,
      read(asked),
      Array.from({ length: 10_000 }, () => ip("10.0.0.1")),
      "tcp",
    );
    assert.ok(reply.length <= 65_535);
    assert.equal(readAnswer(reply).truncated, false);
  });
});

test("EDNS is answered with EDNS, DO as it was asked", () => {
  const asked = query("a", { udpBytes: 4096, dnssec: true });
  const reply = addressAnswer(asked, read(asked), [], "udp");
  assert.deepEqual([...reply.subarray(-11)], [0, 0, 41, 1232 >> 8, 1232 & 0xff, 0, 0, 0x80, 0, 0, 0]);
});

test("errors, with their reason for who speaks EDNS", () => {
  const plain = query("a");
  assert.equal(readAnswer(errorAnswer(plain, read(plain), 2, { code: 22, text: "why" })).hasEdns, false);
  const asked = query("a", { udpBytes: 512 });
  const reply = errorAnswer(asked, read(asked), 2, { code: 22, text: "why" });
  assert.equal(readAnswer(reply).rcode, 2);
  assert.equal(reply.subarray(-9).toString("latin1"), "\0\x0f\0\x05\0\x16why");
  assert.equal(readAnswer(errorAnswer(asked, read(asked), 16)).rcode, 16, "the high bits are in EDNS");
});

test("a malformed query gets its header back, and nothing of what it held", () => {
  const reply = malformedAnswer(query("a", { id: 9 }).subarray(0, 14));
  assert.deepEqual([...reply], [0, 9, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
});
