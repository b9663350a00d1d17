// What happens once both sides have switched to another protocol; the switch itself is in `vectors.json`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { Bench } from "../exchange-fixtures.ts";
import { NO_BODY } from "../http/body-kind.ts";
import type { RequestMessage, ResponseSink } from "../http/message.ts";
import { websocketAccept, websocketKey } from "../http/websocket.ts";
import { FakeChannel } from "../channel-fixtures.ts";
import { Http1Upstream } from "./upstream.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ASK = `GET /x HTTP/1.1\r\nHost: reviews\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`;
const SWITCH =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" +
  `Sec-WebSocket-Accept: ${websocketAccept(KEY)}\r\n\r\n`;
const HOUR_MS = 3_600_000;

/** Both sides have switched; what they said to do so is forgotten. */
async function switched(choice: Bench["services"]["choice"] = {}): Promise<Bench> {
  const bench = new Bench();
  bench.services.choice = choice;
  await bench.send(ASK);
  await bench.answer(SWITCH);
  assert.match(bench.client.written, /^HTTP\/1\.1 101 Switching Protocols\r\n/);
  bench.client.written = "";
  bench.app().written = "";
  return bench;
}

test("bytes pass both ways as they come, and are counted in the one request", async () => {
  const bench = await switched();
  await bench.send("GET / HTTP/1.1\r\n\r\n", "\0\r\n");
  await bench.answer("HTTP/1.1 400");
  await bench.answer("\r\n\r\n");
  assert.equal(bench.app().written, "GET / HTTP/1.1\r\n\r\n\0\r\n");
  assert.equal(bench.client.written, "HTTP/1.1 400\r\n\r\n");
  assert.equal(bench.services.records.length, 0);
  bench.client.receiveEnd();
  bench.app().receiveEnd();
  const [record, ...others] = bench.services.records;
  assert.equal(others.length, 0);
  assert.deepEqual(
    [record?.status, record?.code, record?.bytesReceived, record?.bytesSent],
    [101, "", "GET / HTTP/1.1\r\n\r\n\0\r\n".length, "HTTP/1.1 400\r\n\r\n".length],
  );
  assert.deepEqual(bench.services.load, ["+a", "-a"]);
});

for (const first of ["client", "app"] as const) {
  test(`the ${first} ends first, and the other one still speaks`, async () => {
    const bench = await switched();
    const [one, other] = first === "client" ? [bench.client, bench.app()] : [bench.app(), bench.client];
    one.receiveEnd();
    assert.equal(other.ended, true);
    assert.equal(one.ended, false);
    other.receive("more");
    assert.equal(one.written, "more");
    other.receiveEnd();
    assert.equal(one.ended, true);
    assert.deepEqual([one.wasReset, other.wasReset], [false, false]);
    assert.equal(bench.services.records[0]?.code, "");
    assert.deepEqual(bench.connections.size, { total: 0, idle: 0 }, "it never serves again");
  });
}

test("neither time-outs of the route nor silence end it, until one side has ended", async () => {
  const bench = await switched({ timeoutMs: 1000, attemptTimeoutMs: 500 });
  bench.clock.advance(HOUR_MS);
  await bench.answer("still here");
  assert.equal(bench.client.written, "still here");
  bench.client.receiveEnd();
  bench.clock.advance(299_000);
  assert.equal(bench.client.wasReset, false);
  bench.clock.advance(2000);
  assert.equal(bench.client.resetBy?.code, "DOWNSTREAM_CLOSED");
  assert.equal(bench.app().resetBy?.code, "DOWNSTREAM_CLOSED");
});

test("the route's time-out holds until the switch", async () => {
  const bench = new Bench();
  bench.services.choice = { timeoutMs: 1000 };
  await bench.send(ASK);
  bench.clock.advance(1001);
  assert.match(bench.client.written, /^HTTP\/1\.1 504 /);
  assert.equal(bench.client.ended, true);
});

test("who does not read holds back who writes, and only him", async () => {
  const bench = await switched();
  bench.client.room = false;
  await bench.answer("much");
  assert.equal(bench.app().paused, true);
  assert.equal(bench.client.paused, false, "the client may still speak");
  await bench.send("more");
  assert.equal(bench.app().written, "more");
  bench.client.drain();
  assert.equal(bench.app().paused, false);
  bench.app().room = false;
  await bench.send("much");
  assert.equal(bench.client.paused, true);
  bench.app().drain();
  assert.equal(bench.client.paused, false);
});

test("a break on one side is one on the other", async () => {
  const broken = await switched();
  broken.app().close(fail("APP_RESET", "test"));
  assert.equal(broken.client.resetBy?.code, "APP_RESET");
  const left = await switched();
  left.client.close(fail("DOWNSTREAM_CLOSED", "test"));
  assert.equal(left.app().resetBy?.code, "DOWNSTREAM_CLOSED");
  const half = await switched();
  half.app().receiveEnd();
  half.app().close(fail("APP_RESET", "test"));
  assert.equal(half.client.resetBy?.code, "APP_RESET");
  for (const bench of [broken, left, half]) assert.equal(bench.services.records.length, 1);
});

test("draining leaves it alone; a dismissal ends it", async () => {
  const bench = await switched();
  bench.connection.drain();
  bench.clock.advance(HOUR_MS);
  assert.deepEqual([bench.client.ended, bench.client.wasReset], [false, false]);
  bench.connection.dismiss(fail("POLICY_CHANGED", "test"));
  assert.equal(bench.client.resetBy?.code, "POLICY_CHANGED");
  assert.equal(bench.app().resetBy?.code, "POLICY_CHANGED");
  assert.equal(bench.services.records[0]?.code, "POLICY_CHANGED");
});

test("no more than a bound is kept before the switch", async () => {
  const bench = new Bench({ stashBytes: 70_000 });
  await bench.send(ASK, "x".repeat(60_000));
  assert.equal(bench.client.paused, true);
  await bench.send("x".repeat(20_000));
  assert.equal(bench.client.resetBy?.code, "REQUEST_TOO_LARGE");
  assert.doesNotMatch(bench.app().written, /xx/);
});

/** Asks an application of HTTP/1.1 as a client of HTTP/2 does, which has no key. */
function askWithoutKey(): { app: FakeChannel; key: string; statuses: number[]; failures: string[] } {
  const { shared } = new Bench();
  const app = new FakeChannel();
  const upstream = new Http1Upstream(app, "a", { release: () => {}, remove: () => {} }, shared);
  const statuses: number[] = [];
  const failures: string[] = [];
  const sink: ResponseSink = {
    onInterim: () => {},
    onHead: ({ status }) => void statuses.push(status),
    onData: () => {},
    onResponseEnd: () => {},
    onReadEnd: () => {},
    onUpstreamDrain: () => {},
    onUpstreamFailed: ({ code }) => void failures.push(code),
  };
  const message: RequestMessage = {
    method: "GET",
    path: "/x",
    authority: "reviews",
    fields: "",
    body: NO_BODY,
    takesTrailers: false,
    upgrade: "websocket",
  };
  upstream.start(sink, message);
  upstream.flush();
  return { app, key: websocketKey(app.written) ?? "", statuses, failures };
}

test("a client without a key gets one of ours, and the answer must be to that", () => {
  const good = askWithoutKey();
  assert.match(good.key, /^[A-Za-z0-9+/]{22}==$/);
  good.app.receive(SWITCH.replace(websocketAccept(KEY), websocketAccept(good.key)));
  assert.deepEqual([good.statuses, good.failures], [[101], []]);
  const bad = askWithoutKey();
  assert.notEqual(bad.key, good.key);
  bad.app.receive(SWITCH);
  assert.deepEqual([bad.statuses, bad.failures], [[], ["UPSTREAM_RESPONSE_MALFORMED"]]);
});
