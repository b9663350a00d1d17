import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { Bench, turn } from "../exchange-fixtures.ts";

// HTTP/1.1 on both sides: what is shown here is the same in each version.

/** A call's head, with a body in chunks. */
function call(path: string, ...fields: readonly string[]): string {
  const own = ["Host: reviews", "TE: trailers", "Connection: te", "Transfer-Encoding: chunked", ...fields];
  return `POST ${path} HTTP/1.1\r\n${own.map((line) => `${line}\r\n`).join("")}\r\n`;
}

const GRPC = "Content-Type: application/grpc+proto";
const MESSAGE = "5\r\n\0\0\0\0\0\r\n";
const END = "0\r\n\r\n";
const HEAD = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n";

/** The fields of the answer, and what follows them. */
function written(bench: Bench): { readonly lines: readonly string[]; readonly body: string } {
  const [head = "", ...rest] = bench.client.written.split("\r\n\r\n");
  return { lines: head.toLowerCase().split("\r\n"), body: rest.join("\r\n\r\n") };
}

async function answered(path: string, ...fields: readonly string[]): Promise<Bench> {
  const bench = new Bench();
  await bench.send(call(path, GRPC, ...fields), MESSAGE + END);
  return bench;
}

test("failures are answered in gRPC's own way, and counted by their status", async () => {
  const refusing = new Bench();
  refusing.services.endpoints = [];
  await refusing.send(call("/x", GRPC) + MESSAGE + END);
  const table: readonly (readonly [Bench, number, string])[] = [
    [await answered("/nowhere"), 12, "route_not_found"],
    [await answered("/denied"), 7, "denied_by_policy"],
    [refusing, 14, "no_healthy_upstream"],
  ];
  for (const [bench, status, code] of table) {
    const { lines, body } = written(bench);
    assert.equal(lines[0], "http/1.1 200 ok");
    assert.ok(lines.includes("content-type: application/grpc+proto"), lines.join("\n"));
    assert.ok(lines.includes(`grpc-status: ${status}`), lines.join("\n"));
    assert.ok(lines.includes(`culvert-code: ${code}`), lines.join("\n"));
    assert.equal(body, "");
    assert.deepEqual([bench.services.records[0]?.status, bench.services.records[0]?.grpcStatus], [200, status]);
  }
});

test("a request that is not gRPC gets the answer that it always got", async () => {
  const bench = new Bench();
  await bench.send(call("/denied", "Content-Type: application/json") + END);
  assert.equal(written(bench).lines[0], "http/1.1 403 forbidden");
  assert.equal(bench.services.records[0]?.grpcStatus, undefined);
});

test("the answer that a route gives itself", async () => {
  const bench = new Bench();
  const answer = { status: 503, fields: "x-by: route\r\n", body: "closed", failure: undefined };
  bench.services.choice = { answer };
  await bench.send(call("/x", GRPC) + END);
  const { lines } = written(bench);
  for (const line of ["grpc-status: 14", "grpc-message: closed", "x-by: route"]) assert.ok(lines.includes(line), line);
});

test("the status of the trailers is counted, and none is made up", async () => {
  const bench = await answered("/x");
  await bench.answer(`${HEAD}${MESSAGE}0\r\ngrpc-status: 5\r\ngrpc-message: gone\r\n\r\n`);
  assert.match(written(bench).body, /\r\n0\r\ngrpc-status: 5\r\ngrpc-message: gone\r\n\r\n$/);
  assert.equal(bench.services.records[0]?.grpcStatus, 5);
  await bench.send(call("/x", GRPC) + MESSAGE + END);
  await bench.answer(`${HEAD}${MESSAGE}${END}`);
  assert.deepEqual([bench.services.records[1]?.status, bench.services.records[1]?.grpcStatus], [200, undefined]);
});

test("a response that breaks off is broken off", async () => {
  const bench = await answered("/x");
  await bench.answer(HEAD + MESSAGE);
  bench.app().close(fail("APP_RESET", "test"));
  await turn();
  assert.ok(bench.client.wasReset);
  assert.ok(!bench.client.written.includes("grpc-status"));
  assert.equal(bench.services.records[0]?.grpcStatus, undefined);
});

test("the client's deadline ends the call, and the application knows of it", async () => {
  const bench = await answered("/x", "grpc-timeout: 100m");
  assert.match(bench.app().written, /\r\ngrpc-timeout: 100000u\r\n/);
  bench.clock.advance(99);
  await turn();
  assert.equal(bench.client.written, "");
  bench.clock.advance(1);
  await turn();
  const { lines } = written(bench);
  assert.ok(lines.includes("grpc-status: 4"), lines.join("\n"));
  assert.ok(bench.app().wasReset);
  assert.deepEqual([bench.services.records[0]?.code, bench.services.records[0]?.grpcStatus], ["UPSTREAM_TIMEOUT", 4]);
});

test("what has passed before the request is sent is taken off, with the route's bound if that is earlier", async () => {
  const bench = new Bench();
  bench.services.held = true;
  bench.services.choice = { timeoutMs: 60 };
  await bench.send(call("/x", GRPC, "grpc-timeout: 100m") + MESSAGE + END);
  bench.clock.advance(20);
  bench.services.letOpen();
  await turn();
  assert.match(bench.app().written, /\r\ngrpc-timeout: 40000u\r\n/);
  assert.ok(!bench.app().written.includes("100m"));
});

test("a deadline that has passed already", async () => {
  const bench = new Bench();
  bench.services.held = true;
  await bench.send(call("/x", GRPC, "grpc-timeout: 0n") + MESSAGE + END);
  bench.clock.advance(1);
  await turn();
  assert.ok(written(bench).lines.includes("grpc-status: 4"));
});

test("a deadline that the response has begun before cuts it", async () => {
  const bench = await answered("/x", "grpc-timeout: 1S");
  await bench.answer(HEAD + MESSAGE);
  bench.clock.advance(1000);
  await turn();
  assert.ok(bench.client.wasReset);
  assert.equal(bench.services.records[0]?.code, "UPSTREAM_TIMEOUT");
});

test("a retry by an HTTP status takes the status of a call that failed at once for it", async () => {
  const bench = new Bench();
  bench.services.choice = { retry: { codes: [503], attempts: 1, backoffMs: 0 } };
  await bench.send(call("/x", GRPC) + MESSAGE + END);
  await bench.answer(
    "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: 14\r\nContent-Length: 0\r\n\r\n",
  );
  bench.clock.advance(100);
  await turn();
  await bench.answer(`${HEAD}${MESSAGE}0\r\ngrpc-status: 0\r\n\r\n`, 1);
  assert.match(written(bench).body, /grpc-status: 0/);
  assert.deepEqual([bench.services.records[0]?.attempts, bench.services.records[0]?.grpcStatus], [2, 0]);
});

test("gRPC-Web is plain gRPC for the application, and its trailers a frame for the client", async () => {
  const bench = new Bench();
  await bench.send(
    "POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Type: application/grpc-web+proto\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0",
  );
  const asked = bench.app().written;
  assert.match(asked, /\r\ncontent-type: application\/grpc\+proto\r\n/);
  assert.match(asked, /\r\nte: trailers\r\n/);
  assert.ok(!/content-length/i.test(asked));
  await bench.answer(`${HEAD}${MESSAGE}`);
  const { lines, body } = written(bench);
  assert.ok(lines.includes("content-type: application/grpc-web"), lines.join("\n"));
  assert.equal(body, MESSAGE, "the message does not wait for the end");
  await bench.answer("0\r\ngrpc-status: 0\r\n\r\n");
  const frame = "\u0080\0\0\0\u0010grpc-status: 0\r\n";
  assert.equal(written(bench).body, `${MESSAGE}${frame.length.toString(16)}\r\n${frame}\r\n${END}`);
  assert.equal(bench.services.records[0]?.grpcStatus, 0);
});

test("the text form of gRPC-Web, both ways", async () => {
  const bench = new Bench();
  const sent = Buffer.from("\0\0\0\0\u0001x", "latin1").toString("base64");
  const head = `POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Type: application/grpc-web-text\r\nContent-Length: ${sent.length}\r\n\r\n`;
  await bench.send(head + sent.slice(0, 3), sent.slice(3, 5), sent.slice(5));
  assert.ok(bench.app().written.endsWith("\r\n3\r\n\0\0\0\r\n3\r\n\0\u0001x\r\n0\r\n\r\n"), bench.app().written);
  await bench.answer(`${HEAD}${MESSAGE}0\r\ngrpc-status: 0\r\n\r\n`);
  const text = written(bench)
    .body.split("\r\n")
    .filter((_, index) => index % 2 === 1)
    .map((piece) => Buffer.from(piece, "base64").toString("latin1"))
    .join("");
  assert.equal(text, "\0\0\0\0\0\u0080\0\0\0\u0010grpc-status: 0\r\n");
});

test("a text that is no base64 breaks the call off", async () => {
  for (const body of ["AAA*", "AAA", "A==="]) {
    const bench = new Bench();
    await bench.send(
      `POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Type: application/grpc-web-text\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const { lines } = written(bench);
    assert.ok(lines.includes("grpc-status: 13"), `${body}: ${lines.join("\n")}`);
    assert.ok(lines.includes("content-type: application/grpc-web-text"));
    assert.ok(bench.app().wasReset);
    assert.equal(bench.services.records[0]?.code, "REQUEST_MALFORMED");
  }
});
