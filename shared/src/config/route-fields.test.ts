import assert from "node:assert/strict";
import { test } from "node:test";
import { routeFieldProblem, routeValueProblem } from "./route-fields.ts";

test("a route may touch any field of the application", () => {
  for (const name of ["x-a", "X-Header-Set", "set-cookie", "authorization", "grpc-timeout", "a_b", "!#$%&'*+-.^`|~9"]) {
    assert.equal(routeFieldProblem(name), undefined, name);
  }
});

test("what frames a message, ends at a hop or says who called is not for routes, however it is spelled", () => {
  for (const name of [
    "Content-Length",
    "transfer-encoding",
    "Transfer_Encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "X-Forwarded-Client-Cert",
    "x_forwarded_client_cert",
    "x-forwarded-for",
    "x-request-id",
    "x-culvert-via",
  ]) {
    assert.match(routeFieldProblem(name) ?? "", /is the proxy's own/, name);
  }
  assert.match(routeFieldProblem("Host") ?? "", /URLRewrite/);
  assert.match(routeFieldProblem(":authority") ?? "", /pseudo/);
});

test("a name is a token", () => {
  for (const name of ["", "a b", "a:", "a\r\nb", "ä", "a\0", "(a)", "a".repeat(257)]) {
    assert.match(routeFieldProblem(name) ?? "", /expected a header name/, JSON.stringify(name));
  }
});

test("a value has no control but the tab, and an end", () => {
  for (const value of ["", "a b", "a\tb", "ü", "=?;,"]) assert.equal(routeValueProblem(value), undefined);
  for (const value of ["a\r\nb: c", "a\n", "\0", "\x7f", "\x1b"]) {
    assert.match(routeValueProblem(value) ?? "", /control/, JSON.stringify(value));
  }
  assert.equal(routeValueProblem("a".repeat(4096)), undefined);
  assert.match(routeValueProblem("a".repeat(4097)) ?? "", /4096/);
});
