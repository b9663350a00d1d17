import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fault } from "@culvert/shared/config/http-route.ts";
import { abortAnswer, drawFault } from "./fault.ts";

const DELAY = { delay: { ms: 100, percent: 50 }, abort: undefined };
const ABORT = { delay: undefined, abort: { status: 503, grpcStatus: undefined, percent: 12.5 } };

function always(value: number): () => number {
  return () => value;
}

function aborting(percent: number): Fault[] {
  return [{ ...ABORT, abort: { ...ABORT.abort, percent } }];
}

function grpcFields(grpcStatus: number | undefined): string {
  return abortAnswer({ status: 503, grpcStatus, percent: 1 }, true, "").fields;
}

test("a share of the requests waits, a share is aborted", () => {
  assert.equal(drawFault([DELAY], always(0.49)).delayMs, 100);
  assert.equal(drawFault([DELAY], always(0.5)).delayMs, 0);
  assert.equal(drawFault([ABORT], always(0.124)).abort?.status, 503);
  assert.equal(drawFault([ABORT], always(0.125)).abort, undefined);
  assert.equal(drawFault([DELAY, DELAY, ABORT], always(0)).delayMs, 200);
});

test("0 percent is never, 100 percent always", () => {
  assert.equal(drawFault(aborting(0), () => 0).abort, undefined);
  assert.notEqual(drawFault(aborting(100), () => 1 - Number.EPSILON).abort, undefined);
});

test("an abort answers with its status, and says whose it is", () => {
  const answer = abortAnswer({ status: 418, grpcStatus: undefined, percent: 1 }, false, "default/r rules[0]");
  assert.equal(answer.status, 418);
  assert.match(answer.fields, /^culvert-code: FAULT_INJECTED\r\n/);
  assert.equal(answer.failure?.traits.flag, "FI");
  assert.equal(answer.failure.detail, "default/r rules[0]");
  assert.equal(abortAnswer({ status: 204, grpcStatus: undefined, percent: 1 }, false, "").body, "");
});

test("a gRPC call gets the status of the fault, else what its HTTP status means", () => {
  assert.match(grpcFields(8), /^content-type: application\/grpc\r\ngrpc-status: 8\r\n/);
  assert.match(grpcFields(undefined), /\r\ngrpc-status: 14\r\n/);
  assert.equal(abortAnswer({ status: 503, grpcStatus: 8, percent: 1 }, true, "").status, 200);
});
