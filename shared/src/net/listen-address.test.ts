import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isLoopbackHost, parseHost, parseListenAddress, parseUnixAddress, splitHostPort } from "./listen-address.ts";

describe("parseUnixAddress", () => {
  for (const text of ["unix:/run/app.sock", "unix:///run/app.sock"]) {
    test(text, () => assert.deepEqual(parseUnixAddress(text), { kind: "unix", path: "/run/app.sock" }));
  }
  const long = `unix:/${"ü".repeat(48)}`;
  for (const text of ["", "unix:", "unix:a", "unix:/", "unix:/a/", "unix://a", "unix:/a\0b", "/run/app.sock", long]) {
    test(`not ${JSON.stringify(text)}`, () => assert.equal(parseUnixAddress(text), undefined));
  }
});

describe("parseListenAddress", () => {
  const good: [string | number, string, number][] = [
    [15008, "", 15008],
    ["15008", "", 15008],
    [0, "", 0],
    [":15008", "", 15008],
    ["127.0.0.1:15000", "127.0.0.1", 15000],
    ["[::1]:15000", "::1", 15000],
    ["[::]:0", "::", 0],
    ["localhost:65535", "localhost", 65535],
    ["my-host.example.com:1", "my-host.example.com", 1],
  ];
  for (const [text, host, port] of good) {
    test(String(text), () => assert.deepEqual(parseListenAddress(text), { kind: "tcp", host, port }));
  }

  const bad = [
    "",
    ":",
    "host",
    "host:",
    "::1:80",
    "[::1]",
    "[::1]80",
    "[10.0.0.1:80",
    "10.0.0.256:80",
    "1.2.3:80",
  ].concat(
    [
      "host:65536",
      "host:-1",
      "host:8e1",
      "ho st:80",
      "user@host:80",
      "http://host:80",
      "host:80/",
      "-host:80",
      "a..b:80",
    ],
    ["[fe80::1%lo]:80", "[]:80", "65536", " 80", "host:080000"],
  );
  for (const text of [...bad, 65536, -1, 1.5, Number.NaN]) {
    test(`refuses ${JSON.stringify(text)}`, () => assert.equal(parseListenAddress(text), undefined));
  }
});

test("splitHostPort reads names and addresses", () => {
  assert.deepEqual(splitHostPort("reviews.default:9080"), { host: "reviews.default", port: 9080 });
  assert.deepEqual(splitHostPort("[::ffff:10.0.0.1]:80"), { host: "10.0.0.1", port: 80 });
});

test("isLoopbackHost", () => {
  for (const host of ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"])
    assert.equal(isLoopbackHost(host), true);
  for (const host of ["", "0.0.0.0", "::", "10.0.0.1", "localhost.example.com"])
    assert.equal(isLoopbackHost(host), false);
});

test("parseHost", () => {
  const rows: [string, string | undefined][] = [
    ["reviews.default", "reviews.default"],
    ["2001:DB8::1", "2001:db8::1"],
    ["::ffff:10.0.0.1", "10.0.0.1"],
    ["my_db", "my_db"],
    ["a".repeat(63), "a".repeat(63)],
    ["a".repeat(64), undefined],
    [`${"a.".repeat(126)}a`, `${"a.".repeat(126)}a`],
    [`${"a.".repeat(127)}a`, undefined],
    ["10.0.0", undefined],
    ["10.0.0.256", undefined],
    ["[::1]", undefined],
    ["a b", undefined],
    ["a.", undefined],
    ["", undefined],
  ];
  for (const [host, expected] of rows) assert.equal(parseHost(host), expected, host);
});
