import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { Bench, endpointNamed, PEER, turn } from "./exchange-fixtures.ts";

const GET = "GET /x HTTP/1.1\r\nHost: reviews\r\n\r\n";
const POST = "POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Length: 5\r\n\r\nhello";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

const refused = (key: string): ReturnType<typeof fail> => fail("PEER_UNREACHABLE", key);

function codes(bench: Bench): string[] {
  return bench.services.records.map((record) => `${record.status} ${record.code} ${record.attempts}`);
}

test("goes to another endpoint when one cannot be reached", async () => {
  const bench = new Bench();
  bench.services.refusals.push(refused("a"), refused("b"));
  await bench.send(POST);
  assert.equal(bench.services.opened[0]?.endpoint.key, "c");
  assert.match(bench.app().written, /^POST \/x [^]*\r\n\r\nhello$/);
  await bench.answer(OK);
  assert.deepEqual(codes(bench), ["200  3"]);
  assert.deepEqual(bench.services.load, ["+a", "-a", "+b", "-b", "+c", "-c"]);
});

test("tries three endpoints and no more, and says what the last one said", async () => {
  const bench = new Bench();
  bench.services.endpoints = ["a", "b", "c", "d"].map(endpointNamed);
  bench.services.refusals.push(refused("a"), refused("b"), fail("PEER_TIMEOUT", "c"));
  await bench.send(GET);
  assert.deepEqual(codes(bench), ["503 PEER_TIMEOUT 3"]);
  assert.deepEqual(bench.services.load, ["+a", "-a", "+b", "-b", "+c", "-c"]);
});

test("a denial by the peer is not tried elsewhere", async () => {
  const bench = new Bench();
  bench.services.refusals.push(fail("PEER_DENIED", "no"));
  await bench.send(GET);
  assert.deepEqual(codes(bench), ["403 PEER_DENIED 1"]);
});

test("without another endpoint the first failure is the answer", async () => {
  const bench = new Bench();
  bench.services.endpoints = [endpointNamed("a")];
  bench.services.refusals.push(refused("a"));
  await bench.send(GET);
  assert.deepEqual(codes(bench), ["503 PEER_UNREACHABLE 1"]);
  bench.services.endpoints = [];
  await bench.send(GET);
  assert.deepEqual(codes(bench).at(-1), "503 NO_HEALTHY_UPSTREAM 0");
});

test("a defect in opening is answered and not retried", async () => {
  const bench = new Bench();
  bench.services.open = () => Promise.reject(new Error("boom"));
  await bench.send(GET);
  assert.deepEqual(codes(bench), ["500 INTERNAL 1"]);
});

test("a request that met the close of a kept-alive connection goes to a fresh one of the same endpoint", async () => {
  const bench = new Bench();
  await bench.send(GET);
  await bench.answer(OK);
  await bench.send(GET);
  assert.equal(bench.services.opened.length, 1);
  bench.app(0).receiveEnd();
  await turn();
  assert.equal(bench.services.opened.length, 2);
  assert.equal(bench.services.opened[1]?.endpoint.key, "a");
  await bench.answer(OK, 1);
  assert.deepEqual(codes(bench), ["200  1", "200  1"]);
  assert.deepEqual(bench.services.load, ["+a", "-a", "+a", "-a"]);
});

test("it is repeated once, and only while nothing of the response has come", async () => {
  const bench = new Bench();
  await bench.send(GET);
  await bench.answer(OK);
  await bench.send(GET);
  bench.app(0).close(fail("APP_RESET", "test"));
  await turn();
  bench.app(1).receiveEnd();
  await turn();
  assert.deepEqual(codes(bench), ["200  1", "503 UPSTREAM_RESPONSE_TRUNCATED 1"]);

  const other = new Bench();
  await other.send(GET);
  await other.answer(OK);
  await other.send(GET);
  await other.answer("HTTP/1.1 ");
  other.app(0).receiveEnd();
  await turn();
  assert.deepEqual(codes(other), ["200  1", "503 UPSTREAM_RESPONSE_TRUNCATED 1"]);
});

test("what is not idempotent, or has a body, is not repeated", async () => {
  for (const request of [POST, "POST /x HTTP/1.1\r\nHost: reviews\r\n\r\n", POST.replace("POST", "PUT")]) {
    const bench = new Bench();
    await bench.send(GET);
    await bench.answer(OK);
    await bench.send(request);
    bench.app(0).receiveEnd();
    await turn();
    assert.deepEqual(codes(bench), ["200  1", "503 UPSTREAM_RESPONSE_TRUNCATED 1"]);
  }
});

test("the body waits for the connection, and so does what follows it", async () => {
  const bench = new Bench();
  bench.services.held = true;
  await bench.send(`${POST}${GET}`);
  assert.equal(bench.client.paused, true);
  bench.services.letOpen();
  await turn();
  assert.match(bench.app().written, /\r\n\r\nhello$/);
  assert.equal(bench.client.paused, true);
  await bench.answer(OK);
  await bench.answer(OK, 1);
  assert.equal(bench.client.paused, false);
  assert.equal(bench.client.written, OK + OK);
});

test("a connection that opens for a client who has left serves the next one", async () => {
  const bench = new Bench();
  bench.services.held = true;
  await bench.send(GET);
  bench.client.close(fail("DOWNSTREAM_CLOSED", "test"));
  assert.deepEqual(codes(bench), ["0 DOWNSTREAM_CLOSED 1"]);
  assert.equal(bench.services.isClosed, true);
  bench.services.letOpen();
  await turn();
  assert.deepEqual(bench.connections.size, { total: 1, idle: 1 });
  const { client } = bench.another();
  client.receive(GET);
  await bench.answer(OK);
  assert.equal(client.written, OK);
});

test("a client who leaves takes the request at the application with it", async () => {
  const bench = new Bench();
  await bench.send(GET);
  bench.client.close(undefined);
  assert.equal(bench.app().wasReset, true);
  assert.deepEqual(codes(bench), ["0 DOWNSTREAM_CLOSED 1"]);
  assert.deepEqual(bench.services.load, ["+a", "-a"]);
  assert.deepEqual(bench.connections.size, { total: 0, idle: 0 });
});

test("a route's timeout is answered 504", async () => {
  const bench = new Bench();
  bench.services.choice = { timeoutMs: 500 };
  await bench.send(GET);
  bench.clock.advance(499);
  assert.equal(bench.client.written, "");
  bench.clock.advance(1);
  assert.match(bench.client.written, /^HTTP\/1\.1 504 Gateway Timeout\r\nculvert-code: UPSTREAM_TIMEOUT\r\n/);
  assert.equal(bench.app().resetBy?.code, "UPSTREAM_TIMEOUT");
  assert.deepEqual(codes(bench), ["504 UPSTREAM_TIMEOUT 1"]);
  await bench.send(GET);
  await bench.answer(OK, 1);
  bench.clock.advance(1000);
  assert.deepEqual(codes(bench).at(-1), "200  1");
});

test("an upstream that says nothing is given up, before and within its response", async () => {
  const silent = new Bench();
  await silent.send(GET);
  silent.clock.advance(301_000);
  assert.deepEqual(codes(silent), ["504 UPSTREAM_TIMEOUT 1"]);

  const stalled = new Bench();
  await stalled.send(GET);
  stalled.clock.advance(200_000);
  await stalled.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
  stalled.clock.advance(200_000);
  assert.equal(stalled.client.wasReset, false);
  stalled.clock.advance(101_000);
  assert.equal(stalled.client.resetBy?.code, "UPSTREAM_TIMEOUT");
});

test("a mesh peer may choose the request id", async () => {
  const bench = new Bench();
  await bench.send("GET /x HTTP/1.1\r\nHost: reviews\r\nX-Request-Id: mine\r\n\r\n");
  assert.match(bench.app().written, /\r\nx-request-id: mine\r\n/);
});

test("plaintext clients get no certificate field and a request id of ours", async () => {
  const bench = new Bench({}, { ...PEER, id: undefined });
  await bench.send("GET /x HTTP/1.1\r\nHost: reviews\r\nX-Request-Id: mine\r\nX-Forwarded-Client-Cert: URI=x\r\n\r\n");
  assert.doesNotMatch(bench.app().written, /mine|client-cert/i);
  assert.match(bench.app().written, /\r\nx-request-id: [0-9a-f-]{36}\r\n/);
});

test("fields are read by slot, repeated ones as a list, those that end here not at all", async () => {
  const bench = new Bench();
  await bench.send("GET /x HTTP/1.1\r\nHost: reviews\r\nX-Flavour: a\r\nX-Other: c\r\nx-flavour:  b \r\n\r\n");
  assert.deepEqual(bench.services.flavours, ["a", "b"]);
  await bench.answer(OK);
  await bench.send("GET /x HTTP/1.1\r\nHost: reviews\r\nX-Flavour: a\r\nConnection: x-flavour\r\n\r\n");
  assert.deepEqual(bench.services.flavours, ["a", "b"]);
});

test("facts of an exchange", async () => {
  const bench = new Bench();
  await bench.send(POST);
  await bench.answer(OK);
  assert.deepEqual(bench.services.records, [
    {
      method: "POST",
      path: "/x",
      status: 200,
      code: "",
      local: false,
      bytesReceived: 5,
      bytesSent: 2,
      attempts: 1,
      grpcStatus: undefined,
    },
  ]);
});
