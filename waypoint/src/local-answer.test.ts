import assert from "node:assert/strict";
import { test } from "node:test";
import { FAILURES, fail, type FailureCode } from "@culvert/shared/failure/failure.ts";
import { reasonOf } from "./http/reason.ts";
import { failureAnswer, lengthLine } from "./local-answer.ts";

test("status, code and a short text, and not the particulars", () => {
  const { status, fields, body } = failureAnswer(fail("DENIED_BY_POLICY", "secret of the operator"));
  assert.equal(status, 403);
  assert.equal(fields, "culvert-code: DENIED_BY_POLICY\r\ncontent-type: text/plain\r\n");
  assert.equal(body, "DENIED_BY_POLICY: an authorization policy refuses this caller\n");
});

test("the length of a body is announced where there may be one", () => {
  const answer = { fields: "", body: "", failure: undefined };
  assert.equal(lengthLine({ ...answer, status: 200, body: "abc" }), "content-length: 3\r\n");
  assert.equal(lengthLine({ ...answer, status: 302 }), "content-length: 0\r\n");
  for (const status of [204, 304]) assert.equal(lengthLine({ ...answer, status }), "", String(status));
});

test("a refused method is told which ones are served", () => {
  assert.match(failureAnswer(fail("METHOD_REFUSED", "")).fields, /\r\nallow: GET, [^\r]*\r\n$/);
});

test("every failure has a reason phrase and a body of single bytes", () => {
  for (const code of Object.keys(FAILURES) as FailureCode[]) {
    const { status, body } = failureAnswer(fail(code, ""));
    assert.notEqual(reasonOf(status), "Unknown", code);
    assert.equal(body.length, Buffer.byteLength(body), code);
  }
});
