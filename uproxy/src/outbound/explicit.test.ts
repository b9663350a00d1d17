import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { writeProxyHeader } from "@culvert/shared/net/proxy-protocol.ts";
import { ip } from "@culvert/test/support/fixtures.ts";
import { dial } from "@culvert/test/support/tcp.ts";
import { until } from "@culvert/test/support/until.ts";
import { listenExplicit, listenProxy } from "./explicit.ts";
import type { ClientAnswer, Outbound } from "./outbound.ts";

/** A listener that wants a PROXY header, with those who got through it. */
async function proxiedListener(context: TestContext) {
  const clock = new FakeClock();
  const failures: Failure[] = [];
  const carried: BulkSocket[] = [];
  const outbound = {
    carry: (client: BulkSocket) => {
      carried.push(client);
      client.reset();
      return Promise.resolve();
    },
  } as unknown as Outbound;
  const listen = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;
  const listener = { listen, to: { host: "app", port: 80 }, mode: 0o660, proxyProtocol: "v2", prewarm: false } as const;
  const server = await listenExplicit(listener, outbound, clock, {
    onRefused: (_client, failure) => failures.push(failure),
    onAcceptError: () => undefined,
  });
  assert.ok(!isFailure(server));
  context.after(() => server.close());
  return { clock, failures, carried, port: server.address.port };
}

/** A proxy port behind which nothing can be reached. */
async function proxyPort(context: TestContext) {
  const clock = new FakeClock();
  const failures: Failure[] = [];
  const clients: BulkSocket[] = [];
  const outbound = {
    carry: (client: BulkSocket, _destination: unknown, answer: ClientAnswer) => {
      clients.push(client);
      answer.refused(fail("EGRESS_REFUSED", ""));
      return Promise.resolve();
    },
  } as unknown as Outbound;
  const server = await listenProxy({ kind: "tcp", host: "127.0.0.1", port: 0 }, outbound, clock, {
    onRefused: (client, failure) => {
      clients.push(client);
      failures.push(failure);
    },
    onAcceptError: () => undefined,
  });
  assert.ok(!isFailure(server));
  context.after(() => server.close());
  return { clock, failures, clients, port: server.address.port };
}

const comeToNothing: readonly (readonly [name: string, text: string])[] = [
  ["that closes without a word", ""],
  ["that closes in the middle of a CONNECT head", "CONNECT app:80 HT"],
  ["whose destination cannot be reached", "CONNECT app:80 HTTP/1.1\r\n\r\n"],
  ["of another method", "GET / HTTP/1.1\r\n\r\n"],
  ["that speaks another protocol", "\u0016\u0003\u0001"],
  ["of SOCKS5 that insists on a password", "\u0005\u0001\u0002"],
  ["of SOCKS5 whose destination cannot be reached", "\u0005\u0001\u0000\u0005\u0001\u0000\u0003\u0001a\u0000\u0050"],
];

for (const [name, text] of comeToNothing) {
  test(`nothing is kept of a client ${name}`, async (context) => {
    const { clock, clients, port } = await proxyPort(context);
    const connection = await dial("127.0.0.1", port);
    connection.finish(text);
    assert.equal(await connection.ended(), "end");
    connection.close();
    await until("the proxy's socket to close", () => clients[0]?.destroyed);
    await until("every timer to be cancelled", () => clock.pending === 0);
  });
}

test("a refused client that does not close is cut", async (context) => {
  const { clock, clients, port } = await proxyPort(context);
  const connection = await dial("127.0.0.1", port);
  connection.send("GET / HTTP/1.1\r\n\r\n");
  assert.equal(await connection.ended(), "end");
  assert.equal(clients[0]?.destroyed, false);
  clock.advance(10_000);
  await until("the proxy's socket to close", () => clients[0]?.destroyed);
  connection.close();
});

test("a PROXY header says for whom a client speaks, to the log and to the tunnel request", async (context) => {
  const { carried, clock, port } = await proxiedListener(context);
  const connection = await dial("127.0.0.1", port);
  connection.send(writeProxyHeader({ ip: ip("192.0.2.7"), port: 4711 }, { ip: ip("192.0.2.8"), port: 80 }, []));
  const client = await until("the client to be carried", () => carried[0]);
  assert.deepEqual(client.remote, { ip: "192.0.2.7", port: 4711 });
  assert.equal(client.source, "192.0.2.7:4711");
  assert.equal(clock.pending, 0);
  connection.close();
});

test("a PROXY header that does not come in time is a reset", async (context) => {
  const { carried, clock, failures, port } = await proxiedListener(context);
  const connection = await dial("127.0.0.1", port);
  connection.send("\r\n\r\n\0\r\nQUIT");
  await until("the deadline", () => clock.pending === 1);
  clock.advance(5_000);
  assert.equal(await connection.ended(), "ECONNRESET");
  assert.deepEqual(
    failures.map(({ code }) => code),
    ["REQUEST_TIMEOUT"],
  );
  assert.equal(carried.length, 0);
});

test("a client that leaves before its PROXY header is whole is told apart", async (context) => {
  const { clock, failures, port } = await proxiedListener(context);
  const connection = await dial("127.0.0.1", port);
  connection.finish("\r\n\r\n");
  await connection.ended();
  assert.deepEqual(
    failures.map(({ code }) => code),
    ["DOWNSTREAM_CLOSED"],
  );
  assert.equal(clock.pending, 0);
});
