import assert from "node:assert/strict";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import { Bench, endpointNamed, FakeServices, turn } from "../exchange-fixtures.ts";
import { messagesOf } from "./message-fixtures.ts";

const GET = "GET /x HTTP/1.1\r\nHost: reviews\r\n\r\n";
const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/** A bench whose `count` clients have had one request each, over as many connections to endpoint a, all idle now. */
async function warm(count: number, limits: ConstructorParameters<typeof Bench>[0] = {}): Promise<Bench> {
  const bench = new Bench(limits);
  bench.services.endpoints = [endpointNamed("a")];
  bench.client.receive(GET);
  for (let i = 1; i < count; i += 1) bench.another(bench.services).client.receive(GET);
  await turn();
  for (let i = 0; i < count; i += 1) bench.app(i).receive(OK);
  await turn();
  return bench;
}

function requests(bench: Bench, index: number): number {
  return messagesOf(bench.app(index).written).length;
}

test("the connection used last is used next, and the others grow old", async () => {
  const bench = await warm(3);
  assert.deepEqual(bench.connections.size, { total: 3, idle: 3 });
  for (let i = 0; i < 4; i += 1) {
    bench.clock.advance(10_000);
    await bench.send(GET);
    await bench.answer(OK, 2);
  }
  assert.deepEqual(
    [0, 1, 2].map((index) => requests(bench, index)),
    [1, 1, 5],
  );
  assert.deepEqual(
    [0, 1, 2].map((index) => bench.app(index).ended),
    [true, true, false],
  );
  assert.deepEqual(bench.connections.size, { total: 1, idle: 1 });
});

test("an idle connection that ends, closes or speaks is never chosen", async () => {
  const bench = await warm(4);
  bench.app(3).receiveEnd();
  bench.app(2).close(fail("APP_RESET", "test"));
  bench.app(1).receive("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
  assert.equal(bench.app(3).ended, true);
  assert.equal(bench.app(1).wasReset, true);
  assert.deepEqual(bench.connections.size, { total: 1, idle: 1 });
  await bench.send(GET);
  assert.deepEqual(
    [0, 1, 2, 3].map((index) => requests(bench, index)),
    [2, 1, 1, 1],
  );
});

test("a connection serves again only after a silent turn", async () => {
  const bench = await warm(1);
  bench.client.receive(GET);
  bench.app().receive(OK);
  bench.client.receive(GET);
  bench.app().receive("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
  await turn();
  assert.equal(bench.app(0).wasReset, true);
  await bench.answer(OK, 1);
  assert.equal(bench.client.written, OK + OK + OK);
});

test("one endpoint has as many connections as it may, and the next request is told so", async () => {
  const bench = await warm(2, { upstreamPerEndpoint: 2 });
  const clients = [0, 1, 2].map(() => bench.another(bench.services).client);
  for (const client of clients) client.receive(GET);
  await turn();
  assert.match(clients[2]?.written ?? "", /^HTTP\/1\.1 503 [^]*culvert-code: TOO_MANY_CONNECTIONS\r\n/);
  bench.app(0).receive(OK);
  bench.app(1).receive(OK);
  await turn();
  clients[2]?.receive(GET);
  assert.equal(requests(bench, 1) + requests(bench, 0), 5);
});

test("connections that could not be opened count no longer", async () => {
  const bench = new Bench({ upstreamPerEndpoint: 1 });
  bench.services.endpoints = [endpointNamed("a")];
  for (let i = 0; i < 3; i += 1) {
    bench.services.refusals.push(fail("PEER_UNREACHABLE", "test"));
    await bench.send(GET);
  }
  assert.deepEqual(
    bench.services.records.map((record) => record.code),
    ["PEER_UNREACHABLE", "PEER_UNREACHABLE", "PEER_UNREACHABLE"],
  );
  assert.deepEqual(bench.connections.size, { total: 0, idle: 0 });
});

test("endpoints of different keys share nothing", async () => {
  const bench = await warm(1);
  const services = new FakeServices();
  services.endpoints = [endpointNamed("b")];
  bench.another(services).client.receive(GET);
  await turn();
  assert.equal(services.opened.length, 1);
  assert.equal(requests(bench, 0), 1);
});

test("more idle connections than wanted end in order", async () => {
  const bench = await warm(5, { upstreamIdlePerEndpoint: 2 });
  assert.deepEqual(bench.connections.size, { total: 2, idle: 2 });
  assert.equal(bench.services.opened.filter(({ channel }) => channel.ended).length, 3);
});

test("draining ends what is idle now, and what comes back later", async () => {
  const bench = await warm(2);
  await bench.send(GET);
  bench.connections.drain();
  assert.equal(bench.app(0).ended, true);
  assert.equal(bench.app(1).ended, false);
  await bench.answer(OK, 1);
  await turn();
  assert.equal(bench.app(1).ended, true);
  bench.clock.advance(3_000);
  assert.deepEqual(bench.connections.size, { total: 0, idle: 0 });
});

test("a connection that was ended and does not follow is cut off", async () => {
  const bench = await warm(1);
  bench.clock.advance(31_000);
  assert.equal(bench.app().ended, true);
  assert.equal(bench.app().wasReset, false);
  bench.clock.advance(3_000);
  assert.equal(bench.app().wasReset, true);
});
