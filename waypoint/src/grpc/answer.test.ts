import assert from "node:assert/strict";
import { test } from "node:test";
import { FAILURES, fail, type FailureCode } from "@culvert/shared/failure/failure.ts";
import { asBytes } from "../filter/field-lines.ts";
import { failureAnswer } from "../local-answer.ts";
import { encodeGrpcMessage, grpcAnswer } from "./answer.ts";

const GRPC_TYPE = "application/grpc";

function route(status: number, fields: string, body: string): ReturnType<typeof failureAnswer> {
  return grpcAnswer({ status, fields, body, failure: undefined }, GRPC_TYPE);
}

test("each failure has its own status, its code, and a message without the particulars", () => {
  for (const code of Object.keys(FAILURES) as FailureCode[]) {
    const answer = grpcAnswer(failureAnswer(fail(code, "secret of the operator")), GRPC_TYPE);
    assert.equal(answer.status, 200, code);
    assert.equal(answer.body, "", code);
    const lines = answer.fields.split("\r\n");
    assert.ok(lines.includes(`grpc-status: ${FAILURES[code].grpcStatus}`), code);
    assert.ok(lines.includes(`culvert-code: ${code}`), code);
    assert.ok(lines.some((line) => line.startsWith(`grpc-message: ${code}: `)));
    assert.deepEqual(
      lines.filter((line) => line.startsWith("content-type")),
      [`content-type: ${GRPC_TYPE}`],
    );
    assert.ok(!answer.fields.includes("secret"));
  }
});

test("the statuses that callers rely on", () => {
  const table: readonly (readonly [FailureCode, number])[] = [
    ["ROUTE_NOT_FOUND", 12],
    ["BACKEND_INVALID", 14],
    ["ROUTE_NOT_UNDERSTOOD", 14],
    ["NO_HEALTHY_UPSTREAM", 14],
    ["APP_REFUSED", 14],
    ["APP_RESET", 14],
    ["DENIED_BY_POLICY", 7],
    ["UPSTREAM_TIMEOUT", 4],
    ["MTLS_REQUIRED", 16],
    ["REQUEST_MALFORMED", 13],
    ["OVERLOADED", 8],
    ["INTERNAL", 13],
  ];
  for (const [code, status] of table) {
    assert.match(
      grpcAnswer(failureAnswer(fail(code, "")), GRPC_TYPE).fields,
      new RegExp(`grpc-status: ${status}\r`),
      code,
    );
  }
});

test("a route's answer has the status that its HTTP status stands for, and its body as the message", () => {
  const table: readonly (readonly [number, number])[] = [
    [200, 2],
    [302, 2],
    [400, 13],
    [401, 16],
    [403, 7],
    [404, 12],
    [429, 14],
    [500, 2],
    [502, 14],
    [503, 14],
    [504, 14],
  ];
  for (const [http, grpc] of table) {
    const { fields } = route(http, "x-of: route\r\ncontent-type: text/html\r\nContent-Language: de\r\n", "not now\n");
    assert.equal(
      fields,
      `content-type: application/grpc\r\ngrpc-status: ${grpc}\r\ngrpc-message: not now\r\nx-of: route\r\n`,
    );
  }
});

test("a status that the route says is kept, and no other is put beside it", () => {
  const { status, fields } = route(200, "grpc-status: 5\r\ngrpc-message: gone\r\n", "body");
  assert.equal(status, 200);
  assert.equal(fields, "content-type: application/grpc\r\ngrpc-status: 5\r\ngrpc-message: gone\r\n");
});

test("the message is percent-encoded UTF-8, bounded, and absent when there is none", () => {
  assert.equal(encodeGrpcMessage(asBytes("50% of ü\n\t~")), "50%25 of %C3%BC%0A%09~");
  assert.equal(route(503, "", "").fields, "content-type: application/grpc\r\ngrpc-status: 14\r\n");
  assert.equal(/grpc-message: (a*)\r/.exec(route(503, "", "a".repeat(5_000)).fields)?.[1]?.length, 1_024);
});
