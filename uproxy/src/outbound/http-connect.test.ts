import assert from "node:assert/strict";
import { test } from "node:test";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import { connectReply, readConnect } from "./http-connect.ts";

test("reads a CONNECT head, however it is split, and nothing beyond it", () => {
  const head = "CONNECT reviews.default:9080 HTTP/1.1\r\nHost: reviews.default:9080\r\nUser-Agent: curl\r\n\r\n";
  const bytes = Buffer.from(`${head}early bytes`);
  for (let length = 0; length < head.length; length += 1)
    assert.equal(readConnect(bytes.subarray(0, length)), undefined);
  assert.deepEqual(readConnect(bytes), {
    value: { kind: "name", host: "reviews.default", port: 9080 },
    consumed: head.length,
  });
});

const refused: readonly [string, string, string][] = [
  ["another method", "GET http://reviews/ HTTP/1.1\r\n\r\n", "METHOD_REFUSED"],
  ["HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\n", "PROXY_REQUEST_MALFORMED"],
  ["a target without a port", "CONNECT reviews HTTP/1.1\r\n\r\n", "AUTHORITY_MALFORMED"],
  ["an octal address", "CONNECT 0177.0.0.1:80 HTTP/1.1\r\n\r\n", "AUTHORITY_MALFORMED"],
  ["user information", "CONNECT me@reviews:80 HTTP/1.1\r\n\r\n", "AUTHORITY_MALFORMED"],
  ["something else", "hello\r\n\r\n", "PROXY_REQUEST_MALFORMED"],
  ["a head without an end", "C".repeat(9000), "REQUEST_TOO_LARGE"],
];

for (const [name, text, code] of refused) {
  test(`refuses ${name}`, () => {
    const read = readConnect(Buffer.from(text));
    assert.equal(isFailure(read) && read.code, code);
  });
}

test("answers 200 without a body, or the failure with its code", () => {
  assert.equal(connectReply(undefined).toString(), "HTTP/1.1 200 Connection established\r\n\r\n");
  const reply = connectReply(fail("PEER_DENIED", "DENIED_BY_POLICY\r\nx: y")).toString();
  const [head = "", body = ""] = reply.split("\r\n\r\n");
  assert.match(head, /^HTTP\/1\.1 403 .*\r\nculvert-code: PEER_DENIED\r\n/);
  assert.ok(!head.includes("x: y"));
  assert.equal(Number(/content-length: (\d+)/.exec(head)?.[1]), Buffer.byteLength(body));
});
