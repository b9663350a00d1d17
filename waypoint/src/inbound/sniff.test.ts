import assert from "node:assert/strict";
import { test } from "node:test";
import { sniff, type Sniffed } from "./sniff.ts";

const CASES: readonly (readonly [string, Sniffed])[] = [
  ["", "more"],
  ["G", "more"],
  ["GET", "more"],
  ["GET ", "more"],
  ["GET /", "more"],
  ["GET / HTTP/1.1\r", "more"],
  ["GET / HTTP/1.1\r\n", "http1"],
  ["GET / HTTP/1.0\n", "http1"],
  ["OPTIONS * HTTP/1.1\r\nHost: x\r\n", "http1"],
  ["M-SEARCH * HTTP/1.1\r\n", "http1"],
  ["GET http://reviews/x HTTP/1.1\r\n", "http1"],
  [`GET /${"a".repeat(5_000)}`, "http1"],
  [`GET /${"a".repeat(1_000)}`, "more"],
  ["PRI * HTTP/2.0", "more"],
  ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2"],
  ["PRI * HTTP/1.1\r\n", "http1"],
  ["PRIX /", "more"],
  ["OPTIONS * RTSP/1.0\r\n", "opaque"],
  ["OPTIONS sip:a@b SIP/2.0\r\n", "opaque"],
  ["GET key\r\n", "opaque"],
  ["get / HTTP/1.1\r\n", "opaque"],
  ["EHLO example.com\r\n", "opaque"],
  ["GET / HTTP/2.0\r\n", "opaque"],
  ["GET /\r\n", "opaque"],
  [" GET / HTTP/1.1\r\n", "opaque"],
  ["A".repeat(24), "more"],
  ["A".repeat(25), "opaque"],
  ["\u0016", "more"],
  ["\u0016\u0003\u0001\u0002\u0000", "more"],
  ["\u0016\u0003\u0001\u0002\u0000\u0001", "tls"],
  ["\u0016\u0003\u0001\u0002\u0000\u0002", "opaque"],
  ["\u0016\u0002", "opaque"],
  ["\u0000\u0000\u0000\u0008\u0004\u00d2\u0016\u002f", "opaque"],
];

test("a protocol is told by its first line, in whatever pieces it comes", () => {
  for (const [text, expected] of CASES)
    assert.equal(sniff(Buffer.from(text, "latin1")), expected, JSON.stringify(text));
});

test("no prefix of a decided connection was decided otherwise", () => {
  for (const [text, expected] of CASES) {
    if (expected === "more") continue;
    for (let length = 1; length < text.length; length++) {
      const verdict = sniff(Buffer.from(text.slice(0, length), "latin1"));
      assert.ok(verdict === "more" || verdict === expected, `${JSON.stringify(text.slice(0, length))}: ${verdict}`);
    }
  }
});
