import assert from "node:assert/strict";
import { test } from "node:test";
import { isAccepted, websocketAccept, websocketKey } from "./websocket.ts";

test("the accept is that of RFC 6455 section 1.3", () => {
  assert.equal(websocketAccept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});

test("one key is a key, two are none", () => {
  assert.equal(websocketKey("a: b\r\nSec-WebSocket-Key:  k \r\n"), "k");
  assert.equal(websocketKey("a: b\r\n"), undefined);
  assert.equal(websocketKey("sec-websocket-key: k\r\nsec-websocket-key: k\r\n"), undefined);
});

test("only the one right accept will do", () => {
  assert.ok(isAccepted("Sec-WebSocket-Accept: x\r\n", "x"));
  for (const fields of ["", "sec-websocket-accept: X\r\n", "sec-websocket-accept: x\r\nsec-websocket-accept: x\r\n"]) {
    assert.ok(!isAccepted(fields, "x"), fields);
  }
});
