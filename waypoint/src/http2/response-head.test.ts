import assert from "node:assert/strict";
import { test } from "node:test";
import { CHUNKED, LENGTH, NO_BODY } from "../http/body-kind.ts";
import { trailerLines } from "../http/trailers.ts";
import { DEFAULT_HTTP_LIMITS } from "../http/limits.ts";
import { appendFields, fieldObject } from "./field-lines.ts";
import { Http2ResponseHead } from "./response-head.ts";

const head = new Http2ResponseHead(DEFAULT_HTTP_LIMITS);

test("status, length and kept fields", () => {
  const fields = ["x-a", "1", "x-forwarded-client-cert", "evil", "set-cookie", "a", "set-cookie", "b"];
  assert.equal(head.read([":status", "200", "content-length", "5", ...fields], false, false), undefined);
  assert.deepEqual([head.status, head.body, head.isGrpc], [200, LENGTH, false]);
  assert.equal(head.reason, undefined, "HTTP/1.1 then gives the registered phrase");
  assert.equal(head.keptFields(), "content-length: 5\r\nx-a: 1\r\nset-cookie: a\r\nset-cookie: b\r\n");
  assert.equal(head.read([":status", "200", "content-type", "application/grpc+proto"], false, false), undefined);
  assert.deepEqual([head.body, head.isGrpc], [CHUNKED, true]);
});

test("what has no body has none, whatever its fields say", () => {
  for (const [status, ended, toHead] of [
    ["200", true, false],
    ["200", false, true],
    ["204", false, false],
    ["304", false, false],
    ["103", false, false],
  ] as const) {
    assert.equal(head.read([":status", status, "content-length", "5"], ended, toHead), undefined);
    assert.equal(head.body, NO_BODY, status);
    assert.equal(head.keptFields(), status === "204" || status === "103" ? "" : "content-length: 5\r\n");
  }
});

test("a malformed head is refused", () => {
  const cases: readonly (readonly [string, readonly string[], boolean?])[] = [
    ["no status", []],
    ["a status that is none", [":status", "20"]],
    ["a status without meaning", [":status", "600"]],
    ["an interim end", [":status", "100"], true],
    ["a connection's own field", [":status", "200", "connection", "close"]],
    ["a transfer coding", [":status", "200", "transfer-encoding", "chunked"]],
    ["two lengths", [":status", "200", "content-length", "1", "content-length", "1"]],
    ["a length that is none", [":status", "200", "content-length", "1x"]],
    ["too many fields", [":status", "200", ...Array.from({ length: 202 }, () => "x")]],
    ["too many bytes", [":status", "200", "x", "x".repeat(70_000)]],
  ];
  for (const [what, list, ended = false] of cases) {
    assert.equal(head.read(list, ended, false)?.code, "UPSTREAM_RESPONSE_MALFORMED", what);
  }
});

test("an application that takes an extended CONNECT has switched, as HTTP/1.1 says it", () => {
  assert.equal(head.read([":status", "200", "content-length", "5", "x", "y"], false, false), undefined);
  head.switched();
  assert.deepEqual([head.status, head.keptFields()], [101, "x: y\r\n"]);
});

test("lines become names and values, without the blanks that HTTP/2 forbids", () => {
  const list: string[] = [];
  appendFields(list, "A:1\r\nb: \t x y\u00a0 \t\r\nc:\r\nd: e:f\r\n");
  assert.deepEqual(list, ["A", "1", "b", "x y\u00a0", "c", "", "d", "e:f"]);
  assert.deepEqual(fieldObject("A: 1\r\na: 2\r\nA: 3\r\nb: \r\n"), { a: ["1", "2", "3"], b: "" });
});

test("trailers pass by name; gRPC's may have names of their own", () => {
  const list = ["grpc-status", "0", "x-own", "1", "content-length", "5", "host", "evil", "authorization", "evil"];
  const ours = ["x-forwarded-for", "evil", "x_request_id", "evil", "set-cookie", "evil", ":path", "/"];
  assert.equal(trailerLines([...list, ...ours], false), "grpc-status: 0\r\n");
  assert.equal(trailerLines([...list, ...ours], true), "grpc-status: 0\r\nx-own: 1\r\n");
});
