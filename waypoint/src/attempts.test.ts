import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { Bench, endpointNamed, turn } from "./exchange-fixtures.ts";

const GET = "GET /x HTTP/1.1\r\nHost: reviews\r\n\r\n";
const POST = "POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Length: 4\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BROKEN = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 3\r\n\r\nbad";

function retrying(attempts: number, codes: readonly number[] = [500]): Bench {
  const bench = new Bench();
  bench.services.choice = { retry: { codes, attempts, backoffMs: 50 } };
  return bench;
}

/** Lets the wait before a retry pass, and what follows. */
async function pass(bench: Bench, ms = 1000): Promise<void> {
  bench.clock.advance(ms);
  await turn();
}

test("a code that the route names is tried again at another endpoint, and only the last answer is seen", async () => {
  const bench = retrying(2);
  await bench.send(GET);
  await bench.answer(BROKEN, 0);
  assert.equal(bench.client.written, "");
  await pass(bench, 40);
  assert.equal(bench.services.opened.length, 1, "not before the backoff");
  await pass(bench);
  await bench.answer(OK, 1);
  assert.match(bench.client.written, /^HTTP\/1\.1 200 OK\r\n.*ok$/s);
  assert.deepEqual(bench.services.load, ["+a", "-a", "+b", "-b"]);
  assert.equal(bench.services.records[0]?.attempts, 2);
});

test("when all attempts are used up the last answer goes on as it is", async () => {
  const bench = retrying(1);
  await bench.send(GET);
  await bench.answer(BROKEN, 0);
  await pass(bench);
  await bench.answer(BROKEN, 1);
  assert.match(bench.client.written, /^HTTP\/1\.1 500 Internal Server Error\r\n.*bad$/s);
  assert.equal(bench.services.records[0]?.code, "");
});

test("with one endpoint the same one is tried again", async () => {
  const bench = retrying(2);
  bench.services.endpoints = [endpointNamed("a")];
  await bench.send(GET);
  await bench.answer(BROKEN, 0);
  await pass(bench);
  await bench.answer(OK, 1);
  assert.match(bench.client.written, /^HTTP\/1\.1 200/);
  assert.deepEqual(bench.services.load, ["+a", "-a", "+a", "-a"]);
});

test("connections that break are tried again without being named", async () => {
  const bench = retrying(2, []);
  await bench.send(GET);
  bench.app(0).close(fail("PEER_RESET", ""));
  await turn();
  await pass(bench);
  await bench.answer(OK, 1);
  assert.match(bench.client.written, /^HTTP\/1\.1 200/);
});

test("a body is sent again, whole and once", async () => {
  const bench = retrying(2);
  await bench.send(POST, "ab", "cd");
  await bench.answer(BROKEN, 0);
  await pass(bench);
  assert.match(bench.app(1).written, /\r\n\r\nabcd$/);
  assert.equal(bench.services.heldBytes, 4);
  await bench.answer(OK, 1);
  assert.equal(bench.services.heldBytes, 0);
  assert.match(bench.client.written, /^HTTP\/1\.1 200/);
});

test("a body that is not over goes on where it was", async () => {
  const bench = retrying(2);
  await bench.send(POST, "ab");
  await bench.answer(BROKEN, 0);
  await bench.send("cd");
  await pass(bench);
  assert.match(bench.app(1).written, /\r\n\r\nabcd$/);
  await bench.answer(OK, 1);
  assert.match(bench.client.written, /^HTTP\/1\.1 200/);
});

test("a body over the bound is sent once", async () => {
  const bench = new Bench({ replayBytes: 3 });
  bench.services.choice = { retry: { codes: [500], attempts: 3, backoffMs: 0 } };
  await bench.send(POST, "abcd");
  await bench.answer(BROKEN, 0);
  assert.match(bench.client.written, /^HTTP\/1\.1 500/);
});

test("a body that there is no room for is sent once", async () => {
  const bench = retrying(2);
  bench.services.room = 3;
  await bench.send(POST, "ab", "cd");
  assert.equal(bench.services.heldBytes, 0);
  await bench.answer(BROKEN, 0);
  assert.match(bench.client.written, /^HTTP\/1\.1 500/);
});

test("what is over its tenant's share is answered 429 and asked of nobody", async () => {
  const bench = new Bench();
  bench.services.overShare = fail("TENANT_OVER_SHARE", "20 requests of default in flight");
  await bench.send(GET);
  assert.match(bench.client.written, /^HTTP\/1\.1 429 .*culvert-code: TENANT_OVER_SHARE\r\n/s);
  assert.deepEqual(bench.services.load, []);
  assert.equal(bench.services.records[0]?.code, "TENANT_OVER_SHARE");
});

test("an attempt that takes too long is 504, or tried again", async () => {
  const bench = new Bench();
  bench.services.choice = { attemptTimeoutMs: 200 };
  await bench.send(GET);
  await pass(bench, 200);
  assert.match(bench.client.written, /^HTTP\/1\.1 504/);
  assert.ok(bench.app(0).wasReset);
  const again = new Bench();
  again.services.choice = { attemptTimeoutMs: 200, retry: { codes: [], attempts: 1, backoffMs: 0 } };
  await again.send(GET);
  await pass(again, 200);
  await pass(again, 100);
  await again.answer(OK, 1);
  assert.match(again.client.written, /^HTTP\/1\.1 200/);
});

test("the time of the request bounds all its attempts, and cuts a response that is not whole", async () => {
  const bench = retrying(9);
  bench.services.choice = { ...bench.services.choice, timeoutMs: 400 };
  await bench.send(GET);
  await bench.answer(BROKEN, 0);
  await pass(bench, 400);
  assert.match(bench.client.written, /^HTTP\/1\.1 504/);
  const slow = new Bench();
  slow.services.choice = { timeoutMs: 400 };
  await slow.send(GET);
  await slow.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
  await pass(slow, 400);
  assert.ok(slow.client.wasReset);
  assert.equal(slow.services.records[0]?.code, "UPSTREAM_TIMEOUT");
});

test("a client that leaves between two attempts ends them", async () => {
  const bench = retrying(2);
  await bench.send(GET);
  await bench.answer(BROKEN, 0);
  bench.client.close(fail("DOWNSTREAM_CLOSED", ""));
  await turn();
  await pass(bench);
  assert.equal(bench.services.opened.length, 1);
  assert.equal(bench.services.records[0]?.code, "DOWNSTREAM_CLOSED");
});

test("the answer of a route comes after its delay, and no application is asked", async () => {
  const bench = new Bench();
  const answer = { status: 302, fields: "location: http://x/\r\n", body: "", failure: undefined };
  bench.services.choice = { delayMs: 100, answer };
  await bench.send(GET);
  assert.equal(bench.client.written, "");
  await pass(bench, 100);
  assert.equal(bench.client.written, "HTTP/1.1 302 Found\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n");
  assert.deepEqual(bench.services.opened, []);
  assert.equal(bench.services.records[0]?.local, true);
});

test("a route changes the request before it is sent and the response before it is seen", async () => {
  const bench = new Bench();
  bench.services.choice = {
    edits: {
      request(draft) {
        draft.path = "/y";
        draft.authority = "other";
        draft.fields += "x-added: 1\r\n";
      },
      response: (status, fields, endpoint) => `${fields}x-seen: ${status} ${endpoint?.key ?? ""}\r\n`,
    },
  };
  await bench.send(GET);
  assert.match(bench.app(0).written, /^GET \/y HTTP\/1\.1\r\nhost: other\r\n.*x-added: 1\r\n\r\n$/s);
  await bench.answer(OK);
  assert.match(bench.client.written, /\r\nx-seen: 200 a\r\n\r\nok$/);
  assert.equal(bench.services.records[0]?.path, "/x", "the log says what was asked for");
});

test("copies get the body, and hear of the end of the request, whole or not", async () => {
  const bench = new Bench();
  const seen: string[] = [];
  bench.services.choice = { mirrored: true };
  bench.services.copied = [
    {
      data: (bytes, start, end) => void seen.push(bytes.toString("latin1", start, end)),
      finish: () => void seen.push("end"),
      over: () => void seen.push("over"),
    },
  ];
  await bench.send(POST, "ab", "cd");
  await bench.answer(OK);
  await bench.send(POST, "e");
  bench.client.close(fail("DOWNSTREAM_CLOSED", ""));
  assert.deepEqual(seen, ["ab", "cd", "end", "over", "e", "over"]);
});

test("a client that leaves while its request is held back is nobody's loss", async () => {
  const bench = new Bench();
  bench.services.choice = { delayMs: 100 };
  await bench.send(GET);
  bench.client.close(fail("DOWNSTREAM_CLOSED", ""));
  await pass(bench);
  assert.deepEqual(bench.services.opened, []);
  assert.equal(bench.services.records[0]?.code, "DOWNSTREAM_CLOSED");
});
