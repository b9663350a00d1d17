import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { dial } from "@culvert/test/support/tcp.ts";
import { until } from "@culvert/test/support/until.ts";
import { listenProxy } from "./explicit.ts";
import type { ClientAnswer, Outbound } from "./outbound.ts";

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
