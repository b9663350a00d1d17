import assert from "node:assert/strict";
import { test } from "node:test";
import { GRPC } from "@culvert/shared/grpc/status.ts";
import { grpcStatusIn, httpStatusOf } from "./status.ts";

test("the status among other fields, in any case", () => {
  assert.equal(grpcStatusIn("grpc-status: 0\r\n"), 0);
  assert.equal(grpcStatusIn("grpc-message: no\r\nGrpc-Status:14 \r\nx: y\r\n"), 14);
});

test("none, not an invented one", () => {
  for (const fields of ["", "x: 1\r\n", "x-grpc-status: 0\r\n", "x: grpc-status: 0\r\n", "grpc-status-details: 0\r\n"])
    assert.equal(grpcStatusIn(fields), undefined, fields);
});

test("one that gRPC does not know is UNKNOWN", () => {
  for (const value of ["17", "99", "100", "-1", "", "OK", "0x0", "1.5"])
    assert.equal(grpcStatusIn(`grpc-status: ${value}\r\n`), GRPC.unknown, value);
});

test("in HTTP", () => {
  const expected = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
  assert.deepEqual(
    expected.map((_, status) => httpStatusOf(status)),
    expected,
  );
  assert.equal(httpStatusOf(17), 500);
});
