import assert from "node:assert/strict";
import { test } from "node:test";
import { FAILURES, fail, type FailureCode } from "@culvert/shared/failure/failure.ts";
import { localReply } from "./local-reply.ts";

test("status, code and a short text, and not the particulars", () => {
  assert.equal(
    localReply(fail("DENIED_BY_POLICY", "secret of the operator"), false, false),
    "HTTP/1.1 403 Forbidden\r\nculvert-code: DENIED_BY_POLICY\r\ncontent-type: text/plain\r\ncontent-length: 62\r\n\r\n" +
      "DENIED_BY_POLICY: an authorization policy refuses this caller\n",
  );
});

test("says that the connection ends, and sends no body to HEAD", () => {
  const reply = localReply(fail("METHOD_REFUSED", ""), true, true);
  assert.match(reply, /\r\nallow: GET, [^\r]*\r\nconnection: close\r\n\r\n$/);
  assert.match(reply, /\r\ncontent-length: [1-9]/);
});

test("every failure has a reason phrase and a body of the length it announces", () => {
  for (const code of Object.keys(FAILURES) as FailureCode[]) {
    const reply = localReply(fail(code, ""), false, false);
    const [head = "", body = ""] = reply.split("\r\n\r\n");
    assert.match(head, /^HTTP\/1\.1 \d{3} [A-Z]/, code);
    assert.doesNotMatch(head, /^HTTP\/1\.1 \d{3} Error/, code);
    assert.equal(Number(/content-length: (\d+)/.exec(head)?.[1]), Buffer.byteLength(body), code);
  }
});
