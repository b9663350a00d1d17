import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { CHUNKED, NO_BODY } from "../http/body-kind.ts";
import type { RequestMessage, ResponseHead } from "../http/message.ts";
import { failureAnswer } from "../local-answer.ts";
import { GrpcCall } from "./call.ts";

const PLAIN = { form: "grpc", encoding: "+proto" } as const;

function message(fields: string): RequestMessage {
  return {
    method: "POST",
    path: "/a.B/C",
    authority: "a",
    fields,
    body: CHUNKED,
    takesTrailers: true,
    upgrade: undefined,
  };
}

function head(fields: string, body: ResponseHead["body"] = CHUNKED): ResponseHead {
  return { status: 200, body, reason: undefined, keptFields: () => fields };
}

test("the deadline, as far as it is one", () => {
  const timeouts = [undefined, "", "soon", "100m", "0n", "25H", "1000H", "99999999H"];
  assert.deepEqual(
    timeouts.map((text) => new GrpcCall(PLAIN, text, false).timeoutMs),
    [undefined, undefined, undefined, 100, 0, 90_000_000, undefined, undefined],
  );
});

test("what is left goes on in the place of what there was", () => {
  const call = new GrpcCall(PLAIN, "100m", false);
  assert.equal(call.bound(0, 1_000), 100);
  const sent = call.within(message("x: 1\r\nGrpc-Timeout: 100m\r\ny: grpc-timeout: 1\r\n"), 1_039.5);
  assert.equal(sent.fields, "x: 1\r\ny: grpc-timeout: 1\r\ngrpc-timeout: 60500u\r\n");
});

test("the earlier of the client's deadline and the route's, and never none at all", () => {
  assert.equal(new GrpcCall(PLAIN, "100m", false).bound(50, 0), 50);
  assert.equal(new GrpcCall(PLAIN, "100m", false).bound(500, 0), 100);
  const none = new GrpcCall(PLAIN, "0m", false);
  assert.ok(none.bound(0, 0) > 0);
  assert.equal(none.within(message(""), 5).fields, "grpc-timeout: 1u\r\n");
});

test("an application that breaks off at the deadline has kept it", () => {
  const call = new GrpcCall(PLAIN, "100m", false);
  call.bound(0, 1_000);
  const reset = fail("APP_RESET", "by app");
  assert.equal(call.reason(reset, 1_098), reset);
  assert.equal(call.reason(reset, 1_099).code, "UPSTREAM_TIMEOUT");
  const gone = fail("DOWNSTREAM_CLOSED", "");
  assert.equal(call.reason(gone, 1_100), gone);
  assert.equal(new GrpcCall(PLAIN, undefined, false).reason(reset, 1e9), reset);
});

test("without a deadline that is understood nothing is touched", () => {
  const asked = message("grpc-timeout: soon\r\n");
  const call = new GrpcCall(PLAIN, "soon", false);
  assert.equal(call.bound(70, 0), 70);
  assert.equal(call.within(asked, 10), asked);
});

test("the status comes from the trailers, or from a head that is all there is", () => {
  const call = new GrpcCall(PLAIN, undefined, false);
  call.begun("content-type: application/grpc\r\n", CHUNKED);
  assert.equal(call.status, undefined);
  call.ended("grpc-status: 5\r\n");
  assert.equal(call.status, 5);
  const refused = new GrpcCall(PLAIN, undefined, false);
  refused.begun("grpc-status: 12\r\n", NO_BODY);
  refused.ended("");
  assert.equal(refused.status, 12);
});

test("a response without a status has none", () => {
  const call = new GrpcCall(PLAIN, undefined, false);
  call.begun("", CHUNKED);
  call.ended("x: 1\r\n");
  assert.equal(call.status, undefined);
});

test("what a response that is all head would be in HTTP, where it tells of a failure", () => {
  const call = new GrpcCall(PLAIN, undefined, false);
  assert.equal(call.httpStatus(head("grpc-status: 14\r\n", NO_BODY)), 503);
  assert.equal(call.httpStatus(head("grpc-status: 0\r\n", NO_BODY)), undefined);
  assert.equal(call.httpStatus(head("grpc-status: 14\r\n", CHUNKED)), undefined);
  assert.equal(call.httpStatus(head("", NO_BODY)), undefined);
});

test("an answer of our own in the form that the client speaks", () => {
  for (const [form, type] of [
    ["grpc", "application/grpc+proto"],
    ["web", "application/grpc-web+proto"],
    ["web-text", "application/grpc-web-text+proto"],
  ] as const) {
    const call = new GrpcCall({ form, encoding: "+proto" }, undefined, true);
    const { fields } = call.answer(failureAnswer(fail("NO_HEALTHY_UPSTREAM", "")));
    assert.ok(fields.startsWith(`content-type: ${type}\r\ngrpc-status: 14\r\n`), fields);
    assert.equal(call.status, 14);
    assert.equal(call.web === undefined, form === "grpc");
  }
});

test("gRPC-Web goes through as it is where the application takes it", () => {
  assert.equal(new GrpcCall({ form: "web", encoding: "" }, undefined, false).web, undefined);
});
