import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { assert as check, property, uint8Array } from "fast-check";
import {
  isHostOnly,
  cidrContains,
  formatHostPort,
  ipBytes,
  ipFamily,
  isLoopback,
  parseCidr,
  parseIp,
  type Cidr,
  type Ip,
} from "./ip.ts";

function ip(text: string): Ip {
  const parsed = parseIp(text);
  assert.ok(parsed !== undefined, text);
  return parsed;
}

function cidr(text: string): Cidr {
  const parsed = parseCidr(text);
  assert.ok(parsed !== undefined, text);
  return parsed;
}

describe("parseIp", () => {
  const good: [string, string][] = [
    ["10.0.0.5", "10.0.0.5"],
    ["0.0.0.0", "0.0.0.0"],
    ["255.255.255.255", "255.255.255.255"],
    ["::", "::"],
    ["::1", "::1"],
    ["2001:DB8:0:0:0:0:0:1", "2001:db8::1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["::ffff:10.0.0.5", "10.0.0.5"],
    ["::ffff:a00:5", "10.0.0.5"],
    ["0:0:0:0:0:ffff:0a00:0005", "10.0.0.5"],
    ["64:ff9b::10.0.0.5", "64:ff9b::a00:5"],
  ];
  for (const [text, expected] of good) test(text, () => assert.equal(parseIp(text), expected));

  const bad = [
    "",
    " 10.0.0.5",
    "10.0.0.5 ",
    "10.0.0",
    "10.0.0.256",
    "010.0.0.5",
    "0x0a.0.0.5",
    "167772165",
    "10.5",
    "10.0.0.5:80",
    "[::1]",
    "fe80::1%eth0",
    "::g",
    "1::2::3",
    "1:2:3:4:5:6:7:8:9",
    "reviews",
    "10.0.0.5\n",
  ];
  for (const text of bad) test(`refuses ${JSON.stringify(text)}`, () => assert.equal(parseIp(text), undefined));
});

test("ipFamily and isLoopback", () => {
  assert.equal(ipFamily(ip("10.0.0.5")), 4);
  assert.equal(ipFamily(ip("::1")), 6);
  for (const text of ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"]) assert.equal(isLoopback(ip(text)), true);
  for (const text of ["128.0.0.1", "0.0.0.0", "::", "::2", "12.7.0.1"]) assert.equal(isLoopback(ip(text)), false);
});

test("ipBytes", () => {
  assert.deepEqual([...ipBytes(ip("10.0.200.5"))], [10, 0, 200, 5]);
  assert.deepEqual(
    [...ipBytes(ip("::"))],
    Array.from({ length: 16 }, () => 0),
  );
  assert.deepEqual([...ipBytes(ip("2001:db8::ff:1"))], [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 1]);
  assert.deepEqual([...ipBytes(ip("::1.2.3.4"))], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
});

test("ipBytes of any IPv6 address reads back as that address", () => {
  check(
    property(uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const text = Array.from({ length: 8 }, (_, i) =>
        (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
      ).join(":");
      const address = ip(text);
      const expected = ipFamily(address) === 4 ? bytes.slice(12) : bytes;
      assert.deepEqual([...ipBytes(address)], [...expected]);
    }),
  );
});

describe("parseCidr", () => {
  const good: [string, string][] = [
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["10.1.2.3/8", "10.0.0.0/8"],
    ["10.1.2.3", "10.1.2.3/32"],
    ["10.1.2.3/32", "10.1.2.3/32"],
    ["10.1.255.3/17", "10.1.128.0/17"],
    ["0.0.0.0/0", "0.0.0.0/0"],
    ["::/0", "::/0"],
    ["2001:db8::1", "2001:db8::1/128"],
    ["2001:db8:ffff::1/33", "2001:db8:8000::/33"],
    ["::ffff:10.1.2.3", "10.1.2.3/32"],
    ["::ffff:10.1.2.3/104", "10.0.0.0/8"],
    ["::ffff:10.1.2.3/96", "0.0.0.0/0"],
  ];
  for (const [text, expected] of good) test(text, () => assert.equal(parseCidr(text)?.text, expected));

  const bad = [
    "",
    "/8",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0.0/08",
    "10.0.0.0/+8",
  ].concat(["::/129", "10.0.0.0/8.0", "10.0.0.0/ 8", "10.0/16", "reviews/8", "::ffff:10.0.0.0/95", "fe80::%1/64"]);
  for (const text of bad) test(`refuses ${JSON.stringify(text)}`, () => assert.equal(parseCidr(text), undefined));
});

describe("cidrContains", () => {
  const rows: [string, string, boolean][] = [
    ["10.0.0.0/8", "10.255.0.1", true],
    ["10.0.0.0/8", "11.0.0.1", false],
    ["10.0.0.0/8", "::ffff:10.9.9.9", true],
    ["10.0.0.128/25", "10.0.0.127", false],
    ["10.0.0.128/25", "10.0.0.128", true],
    ["0.0.0.0/0", "203.0.113.9", true],
    ["0.0.0.0/0", "::1", false],
    ["::/0", "2001:db8::1", true],
    ["::/0", "10.0.0.1", false],
    ["2001:db8::/33", "2001:db8:7fff::1", true],
    ["2001:db8::/33", "2001:db8:8000::1", false],
    ["10.0.0.5", "10.0.0.5", true],
    ["10.0.0.5", "10.0.0.4", false],
  ];
  for (const [block, address, expected] of rows) {
    test(`${block} ${expected ? "holds" : "does not hold"} ${address}`, () =>
      assert.equal(cidrContains(cidr(block), ip(address)), expected));
  }
});

test("formatHostPort", () => {
  assert.equal(formatHostPort("10.0.0.5", 80), "10.0.0.5:80");
  assert.equal(formatHostPort("::1", 80), "[::1]:80");
  assert.equal(formatHostPort("reviews", 80), "reviews:80");
});

test("addresses that mean this host or its link alone", () => {
  const own = [
    "0.0.0.0",
    "127.0.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "ff02::1",
  ];
  for (const text of own) assert.equal(isHostOnly(ip(text)), true, text);
  for (const text of ["10.0.0.1", "169.255.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"]) {
    assert.equal(isHostOnly(ip(text)), false, text);
  }
});
