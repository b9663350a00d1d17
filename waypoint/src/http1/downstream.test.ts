import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { Bench, turn } from "../exchange-fixtures.ts";
import { messagesOf } from "./message-fixtures.ts";

const GET = "GET /x HTTP/1.1\r\nHost: reviews\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const LATE = 10_500;
/** A client that is not told of a drain has half a second for its next request, and a tick. */
const LAST = 1_000;

function statuses(bench: Bench): string[] {
  return messagesOf(bench.client.written).map((message) => message.head.split("\n", 1)[0] ?? "");
}

test("pipelined requests are served one at a time and in order", async () => {
  const bench = new Bench();
  const paths = Array.from({ length: 50 }, (_, i) => `/${i}`);
  await bench.send(paths.map((path) => GET.replace("/x", path)).join(""));
  for (const [i, path] of paths.entries()) {
    const { channel } = bench.services.opened[i % 2] ?? { channel: bench.app() };
    const requests = messagesOf(channel.written);
    assert.equal(requests.at(-1)?.head.startsWith(`GET ${path} `), true, path);
    await bench.answer(`HTTP/1.1 200 OK\r\nContent-Length: ${path.length}\r\n\r\n${path}`, i % 2);
  }
  assert.deepEqual(
    messagesOf(bench.client.written).map((message) => message.body),
    paths,
  );
  assert.equal(bench.services.opened.length, 2);
});

test("nothing is read ahead of a response beyond what had come", async () => {
  const bench = new Bench({ stashBytes: 1000 });
  await bench.send(GET + GET);
  assert.equal(bench.client.paused, true);
  await bench.send(GET.repeat(20));
  await bench.send(GET.repeat(20));
  assert.equal(bench.client.wasReset, true);
  assert.equal(bench.services.records.at(-1)?.code, "REQUEST_TOO_LARGE");
});

test("answers of our own to pipelined requests wait for the client to read them", async () => {
  const bench = new Bench();
  bench.client.room = false;
  const denied = GET.replace("/x", "/denied");
  await bench.send(denied.repeat(100));
  assert.equal(statuses(bench).length, 1);
  assert.equal(bench.client.paused, true);
  for (let i = 2; i <= 99; i += 1) {
    bench.client.sink.onDrain();
    assert.equal(statuses(bench).length, i);
  }
  bench.client.drain();
  await turn();
  assert.equal(statuses(bench).length, 100);
  assert.equal(bench.client.paused, false);
});

test("a client that reads slowly holds the application back", async () => {
  const bench = new Bench();
  await bench.send(GET);
  bench.client.room = false;
  await bench.answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
  assert.equal(bench.app().paused, true);
  bench.client.drain();
  assert.equal(bench.app().paused, false);
  assert.equal(bench.client.paused, false);
  bench.client.room = false;
  await bench.answer("def");
  assert.equal(bench.app().paused, false, "the connection is free although the client is slow");
  assert.equal(bench.client.paused, true);
  await bench.send(GET);
  assert.equal(messagesOf(bench.app().written).length, 1, "the next request waits for the client to read");
  bench.client.drain();
  await turn();
  assert.equal(messagesOf(bench.app().written).length, 2);
});

test("an application that reads slowly holds the client back", async () => {
  const bench = new Bench();
  await bench.send("POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Length: 9\r\n\r\nabc");
  bench.app().room = false;
  await bench.send("def");
  assert.equal(bench.client.paused, true);
  bench.app().drain();
  assert.equal(bench.client.paused, false);
  await bench.send("ghi");
  assert.match(bench.app().written, /\r\n\r\nabcdefghi$/);
});

test("an answer that comes while the application is full frees the client", async () => {
  const bench = new Bench();
  await bench.send(GET);
  await bench.answer(OK);
  bench.app().room = false;
  await bench.send(GET);
  assert.equal(bench.client.paused, true);
  await bench.answer(OK);
  assert.equal(bench.client.paused, false);
});

test("the head of a request must be there within ten seconds of its first byte", async () => {
  const bench = new Bench();
  bench.clock.advance(60_000);
  await bench.send("G");
  bench.clock.advance(9_500);
  await bench.send("E");
  assert.equal(bench.client.written, "");
  bench.clock.advance(LATE - 9_500);
  assert.deepEqual(statuses(bench), ["HTTP/1.1 408 Request Timeout"]);
  assert.equal(bench.client.ended, true);
});

test("so must one behind another request, and one that begins with an empty line", async () => {
  const pipelined = new Bench();
  await pipelined.send(`${GET}GET /y`);
  await pipelined.answer(OK);
  pipelined.clock.advance(LATE);
  assert.deepEqual(statuses(pipelined), ["HTTP/1.1 200 OK", "HTTP/1.1 408 Request Timeout"]);

  const empty = new Bench();
  await empty.send("\r\n");
  empty.clock.advance(LATE);
  assert.deepEqual(statuses(empty), ["HTTP/1.1 408 Request Timeout"]);
});

test("half an empty line among bytes that were kept is waited for", async () => {
  const bench = new Bench();
  await bench.send(`${GET}${GET}\r`);
  await bench.answer(OK);
  await bench.answer(OK, 1);
  await bench.send("\n", GET);
  await bench.answer(OK, 1);
  assert.equal(bench.client.written, OK + OK + OK);
});

test("an idle connection ends without a word, and lets go when the client does not", async () => {
  const bench = new Bench();
  await bench.send(GET);
  await bench.answer(OK);
  bench.clock.advance(301_000);
  assert.equal(bench.client.ended, true);
  assert.equal(bench.client.wasReset, false);
  assert.equal(bench.client.written, OK);
  bench.clock.advance(3_000);
  assert.equal(bench.client.wasReset, true);
  assert.equal(bench.client.resetBy, undefined);
  bench.client.close(fail("DOWNSTREAM_CLOSED", "test"));
  assert.equal(bench.services.isClosed, true);
  assert.equal(bench.clock.pending, 0, "no timer is left");
});

test("a client that still reads our last answer gets the time for it", async () => {
  const bench = new Bench();
  await bench.send("GET / HTTP/1.0\r\n\r\n");
  await bench.answer(OK);
  assert.equal(bench.client.ended, true);
  bench.client.queued = 5000;
  bench.clock.advance(200_000);
  assert.equal(bench.client.wasReset, false);
  bench.clock.advance(200_000);
  assert.equal(bench.client.resetBy?.code, "REQUEST_TIMEOUT");
});

test("a body that stops is given up, and whose fault it is is told", async () => {
  const bench = new Bench();
  await bench.send("POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Length: 9\r\n\r\nabc");
  bench.clock.advance(301_000);
  assert.equal(bench.services.records[0]?.code, "REQUEST_TIMEOUT");
  assert.equal(bench.app().wasReset, true);
  assert.equal(bench.client.wasReset, true);

  const unread = new Bench();
  await unread.send(GET);
  unread.client.room = false;
  await unread.answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
  unread.clock.advance(301_000);
  assert.equal(unread.services.records[0]?.code, "REQUEST_TIMEOUT");
});

test("what comes after the last answer is thrown away, within a bound", async () => {
  const bench = new Bench({ lingerBytes: 10_000 });
  await bench.send("POST /denied HTTP/1.1\r\nHost: reviews\r\nContent-Length: 100000\r\n\r\nabc");
  assert.deepEqual(statuses(bench), ["HTTP/1.1 403 Forbidden"]);
  assert.equal(bench.client.ended, true);
  await bench.send("x".repeat(9_000));
  assert.equal(bench.client.wasReset, false);
  await bench.send("x".repeat(9_000));
  assert.equal(bench.client.wasReset, true);
  assert.equal(bench.services.opened.length, 0);
});

test("draining ends an idle connection in a little while and a busy one after its answer", async () => {
  const idle = new Bench();
  idle.connection.drain();
  assert.equal(idle.client.ended, false, "the next request may be on its way");
  idle.clock.advance(LAST);
  assert.equal(idle.client.ended, true);

  const busy = new Bench();
  await busy.send(GET + GET);
  busy.connection.drain();
  assert.equal(busy.client.ended, false);
  await busy.answer(OK);
  assert.equal(busy.client.written, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nconnection: close\r\n\r\nhi");
  assert.equal(busy.client.ended, true);
  assert.equal(busy.services.opened.length, 1);
});

test("a request that comes while an idle connection is drained is served, and told to be the last", async () => {
  const bench = new Bench();
  bench.connection.drain();
  await bench.send(GET);
  await bench.answer(OK);
  assert.match(bench.client.written, /^HTTP\/1\.1 200 OK\r\n[^]*connection: close\r\n\r\nhi$/);
  assert.equal(bench.client.ended, true);
});

test("draining ends a connection whose answer had begun without saying so, once nothing more has been asked on it", async () => {
  const bench = new Bench();
  await bench.send(GET);
  await bench.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh");
  bench.connection.drain();
  await bench.answer("i");
  assert.equal(bench.client.written, OK);
  assert.equal(bench.client.ended, false);
  bench.clock.advance(LAST);
  assert.equal(bench.client.ended, true);

  const ahead = new Bench();
  await ahead.send(GET);
  await ahead.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh");
  await ahead.send(GET);
  ahead.connection.drain();
  await ahead.answer("i");
  assert.equal(ahead.client.ended, false, "the client has been told nothing when it asked again");
  await ahead.answer(OK, 1);
  assert.match(ahead.client.written, /connection: close\r\n\r\nhi$/);
  assert.equal(ahead.client.ended, true);
});

test("a connection is dismissed with an answer to its request where none has begun, else cut", async () => {
  const asked = new Bench();
  await asked.send(GET);
  asked.connection.dismiss(fail("POLICY_CHANGED", "test"));
  assert.match(
    asked.client.written,
    /^HTTP\/1\.1 403 Forbidden\r\nculvert-code: POLICY_CHANGED\r\n[^]*connection: close\r\n/,
  );
  assert.equal(asked.client.ended, true);
  assert.equal(asked.client.resetBy, undefined);
  assert.equal(asked.app().resetBy?.code, "POLICY_CHANGED");

  const sending = new Bench();
  await sending.send("POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Length: 9\r\n\r\nabc");
  sending.connection.dismiss(fail("POLICY_CHANGED", "test"));
  await sending.send("defghi");
  assert.equal(statuses(sending).join(), "HTTP/1.1 403 Forbidden");
  assert.equal(sending.client.ended, true);

  const answered = new Bench();
  await answered.send(GET);
  await answered.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh");
  answered.connection.dismiss(fail("POLICY_CHANGED", "test"));
  assert.equal(answered.client.resetBy?.code, "POLICY_CHANGED");

  const idle = new Bench();
  idle.connection.dismiss(fail("DRAINING", "test"));
  assert.equal(idle.client.resetBy?.code, "DRAINING");
  for (const bench of [asked, sending, answered]) assert.equal(bench.services.records[0]?.code, "POLICY_CHANGED");
});

test("an abort ends both sides at once", async () => {
  const bench = new Bench();
  await bench.send(GET);
  bench.connection.abort(fail("POLICY_CHANGED", "test"));
  assert.equal(bench.client.resetBy?.code, "POLICY_CHANGED");
  assert.equal(bench.app().resetBy?.code, "POLICY_CHANGED");
  assert.equal(bench.services.records[0]?.code, "POLICY_CHANGED");
});

test("a head byte by byte is scanned a few times, not once for each byte", async () => {
  const bench = new Bench();
  const { scanner } = bench.shared.requestHead;
  let scans = 0;
  const scan = scanner.scanRequest.bind(scanner);
  scanner.scanRequest = (...args) => {
    scans += 1;
    return scan(...args);
  };
  const head = `GET /x HTTP/1.1\r\nHost: reviews\r\nCookie: ${"a".repeat(20_000)}\r\n\r\n`;
  for (const byte of head) bench.client.receive(byte);
  await turn();
  assert.equal(messagesOf(bench.app().written).length, 1);
  assert.ok(scans < 100, `${scans} scans`);
});

test("a head over its limit is refused before it is whole, however it comes", async () => {
  for (const size of [1, 1000, 40_000, 70_000]) {
    const bench = new Bench();
    const fields = Array.from({ length: 90 }, (_, i) => `X-${i}: ${"a".repeat(800)}\r\n`).join("");
    const head = `GET /x HTTP/1.1\r\nHost: reviews\r\n${fields}`;
    for (let at = 0; at < head.length; at += size) bench.client.receive(head.slice(at, at + size));
    await turn();
    assert.deepEqual(statuses(bench), ["HTTP/1.1 431 Request Header Fields Too Large"], `${size} bytes at a time`);
    assert.equal(bench.services.opened.length, 0);
  }
});

test("content-length bodies of any size pass unchanged, in any pieces", async () => {
  for (const size of [1, 2, 4095, 16_384, 16_385, 65_536, 1_000_000]) {
    const body = "0123456789abcdef".repeat(Math.ceil(size / 16)).slice(0, size);
    for (const piece of [size, 65_536, 1000]) {
      if (piece > size) continue;
      const bench = new Bench();
      bench.client.receive(`POST /x HTTP/1.1\r\nHost: reviews\r\nContent-Length: ${size}\r\n\r\n`);
      await turn();
      for (let at = 0; at < size; at += piece) bench.client.receive(body.slice(at, at + piece));
      assert.equal(messagesOf(bench.app().written)[0]?.body === body, true, `request of ${size} by ${piece}`);
      bench.app().receive(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n`);
      for (let at = 0; at < size; at += piece) {
        const part = body.slice(at, at + piece);
        bench.app().receive(`${part.length.toString(16)}\r\n${part}\r\n`);
      }
      bench.app().receive("0\r\n\r\n");
      assert.equal(messagesOf(bench.client.written)[0]?.body === body, true, `response of ${size} by ${piece}`);
      assert.deepEqual([bench.services.records[0]?.bytesReceived, bench.services.records[0]?.bytesSent], [size, size]);
    }
  }
});

test("each read becomes one write, whatever it holds", async () => {
  const bench = new Bench();
  const writes: number[] = [];
  const { client } = bench;
  client.writeLatin1 = (text) => writes.push(text.length) > 0;
  client.writeBytes = (bytes) => writes.push(bytes.length) > 0;
  await bench.send(GET);
  await bench.answer(
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n",
  );
  assert.equal(writes.length, 1);
  await bench.answer(`${(40_000).toString(16)}\r\n${"x".repeat(40_000)}\r\n5\r\nhello\r\n`);
  assert.equal(writes.length, 2);
  await bench.answer("0\r\n\r\n");
  assert.equal(writes.length, 3);
});
