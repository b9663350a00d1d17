// The grammar of the tunnel authority, and the forms by which a proxy is talked into dialling what it must not (T1).
import { deepEqual, equal, ok } from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../failure/failure.ts";
import { formatHostPort } from "../net/ip.ts";
import { parseAuthority } from "./authority.ts";

const GOOD: readonly (readonly [text: string, kind: "ip" | "name", host: string, port: number])[] = [
  ["10.0.0.1:80", "ip", "10.0.0.1", 80],
  ["0.0.0.0:1", "ip", "0.0.0.0", 1],
  ["255.255.255.255:65535", "ip", "255.255.255.255", 65_535],
  ["[fd00::1]:8080", "ip", "fd00::1", 8080],
  ["[FD00:0:0::1]:8080", "ip", "fd00::1", 8080],
  ["[::]:443", "ip", "::", 443],
  ["reviews.default.svc.cluster.local:9080", "name", "reviews.default.svc.cluster.local", 9080],
  ["Reviews.DEFAULT:9080", "name", "reviews.default", 9080],
  ["my_service:1", "name", "my_service", 1],
  ["xn--bcher-kva.example:443", "name", "xn--bcher-kva.example", 443],
  ["1.2.3.4.example:80", "name", "1.2.3.4.example", 80],
];

const BAD: readonly string[] = [
  ["", ":", ":80", "host", "10.0.0.1", "[fd00::1]", "host:", "host:0", "host:00", "host:080", "host:65536", "host:-1"],
  ["host:+80", "host: 80", "host:80 ", "host:8o", "host:80:80", "host:80/", "host:80?x", "host:80#x", "host:1e3"],
  ["0177.0.0.1:80", "0x7f.0.0.1:80", "0x7f000001:80", "2130706433:80", "127.1:80", "1:80", "127.0.0.01:80"],
  ["256.0.0.1:80", "1.2.3.4.5:80", "1.2.3:80", "1.2.3.4.:80", "host.0x:80", "host.08:80"],
  ["[::ffff:127.0.0.1]:15000", "[::ffff:7f00:1]:15000", "[::127.0.0.1]:80", "[127.0.0.1]:80", "[host]:80", "[]:80"],
  ["[fe80::1%eth0]:80", "[fe80::1%25eth0]:80", "fd00::1:80", "::1:80", "[fd00::1:80", "fd00::1]:80", "[[::1]]:80"],
  ["user@host:80", "user:pw@host:80", "@host:80", "http://host:80", "//host:80", "host/path:80", "host?x:80"],
  ["host.:80", ".host:80", "a..b:80", "-a:80", "a-:80", "a b:80", "a\tb:80", "a\0b:80", "a\r\nb:80", "bücher:80"],
  ["ho%73t:80", "host\\:80", "*.example:80", "host,other:80", `${"a".repeat(64)}:80`, `${"a.".repeat(127)}aa:80`],
  ["١٢٧.0.0.1:80", "127。0。0。1:80", "host:８０"],
].flat();

test("reads every plain form", () => {
  for (const [text, kind, host, port] of GOOD) {
    deepEqual({ ...(parseAuthority(text) as object) }, { kind, host, port }, text);
  }
});

test("refuses everything that can be read two ways", () => {
  for (const text of BAD) {
    const result = parseAuthority(text);
    ok(isFailure(result), `accepted ${JSON.stringify(text)}`);
    equal(result.code, "AUTHORITY_MALFORMED");
  }
});

test("what is written is read back, and no input throws", () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), fc.integer({ min: 1, max: 65_535 }), (host, port) => {
      const result = parseAuthority(formatHostPort(host, port));
      if (isFailure(result)) return host.includes(".") && host.includes(":") ? true : host.startsWith("::ffff:");
      return result.port === port && parseAuthority(formatHostPort(result.host, port)) !== undefined;
    }),
  );
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => parseAuthority(text) !== undefined));
});

test("the detail of a refusal is bounded and escaped", () => {
  const result = parseAuthority("\n".repeat(100_000));
  ok(isFailure(result) && result.detail.length < 700 && !result.detail.includes("\n"));
});
