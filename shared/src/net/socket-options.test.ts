// Socket options by the C library: what can be seen without a rule of the kernel; capture itself is in test/e2e/capture*.
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { must } from "@culvert/test/support/must.ts";
import { needs } from "@culvert/test/support/needs.ts";
import { until } from "@culvert/test/support/until.ts";
import { isFailure } from "../failure/failure.ts";
import { acceptBulk } from "./accept-bulk.ts";
import { connectBulk } from "./connect-bulk.ts";
import type { BulkServer } from "./accept-bulk.ts";
import type { BulkSocket } from "./bulk-socket.ts";
import { systemClock as clock } from "./clock.ts";
import { loadSocketOptions, openPrepared } from "./socket-options.ts";

const options = must(await loadSocketOptions());

async function accepting(context: TestContext, host: string): Promise<{ server: BulkServer; accepted: BulkSocket[] }> {
  const accepted: BulkSocket[] = [];
  const server = must(await acceptBulk({ host, port: 0, onSocket: (socket) => void accepted.push(socket) }));
  context.after(async () => {
    for (const socket of accepted) socket.reset();
    await server.close();
  });
  return { server, accepted };
}

for (const [host, from] of [
  ["127.0.0.1", "127.0.0.1"],
  ["::1", "::1"],
  ["", "127.0.0.1"],
  ["", "::1"],
] as const) {
  test(`a connection that no rule turned wanted to go where it came: ${host || "all"} from ${from}`, async (context) => {
    const { server, accepted } = await accepting(context, host);
    const { port } = server.address;
    const client = must(await connectBulk({ host: from, port, timeoutMs: 5_000, clock }));
    context.after(() => client.reset());
    const socket = await until("the connection", () => accepted[0]);
    deepEqual(options.originalDestination(socket), { ip: from, port });
  });
}

test("a prepared descriptor is dialled with, from an address that was bound before", async (context) => {
  const { server, accepted } = await accepting(context, "127.0.0.1");
  const { port } = server.address;
  const descriptor = must(openPrepared(options, "tcp", 4, (made) => options.freebind(made, 4)));
  const dial = { host: "127.0.0.1", port, localAddress: "127.0.0.77", descriptor, timeoutMs: 5_000, clock };
  const client = must(await connectBulk(dial));
  context.after(() => client.reset());
  equal(client.descriptor, descriptor);
  const socket = await until("the connection", () => accepted[0]);
  equal(socket.remote.ip, "127.0.0.77");
  socket.write("hello");
  equal(String(await client.read()), "hello");
  client.write("back");
  equal(String(await socket.read()), "back");
});

test("a prepared descriptor that is refused fails as any other, and is closed", async () => {
  const descriptor = must(options.open("tcp", 4));
  const failure = await connectBulk({ host: "127.0.0.1", port: 1, descriptor, timeoutMs: 5_000, clock });
  ok(isFailure(failure));
  equal(failure.code, "APP_REFUSED");
  const refusal = options.freebind(descriptor, 4);
  match(refusal?.detail ?? "", /EBADF|ENOPROTOOPT|ENOTSOCK/);
});

test("what cannot be set is a failure with the option and the system's code, and leaves no descriptor", () => {
  const bad = 1_000_000;
  for (const refused of [options.mark(bad, 1), options.transparent(bad, 4), options.freebind(bad, 6)]) {
    equal(refused?.code, "SOCKET_OPTION_REFUSED");
    match(refused?.detail ?? "", /^(SO_MARK needs CAP_NET_ADMIN|IP_TRANSPARENT needs .*|IP_FREEBIND): EBADF$/);
  }
  const before = must(options.open("tcp", 6));
  options.close(before);
  ok(isFailure(openPrepared(options, "tcp", 6, () => options.mark(bad, 1))));
  equal(options.open("tcp", 6), before);
  options.close(before);
});

test("with the privilege, marks and foreign addresses are allowed, for IPv4 and IPv6", needs({ root: true }), () => {
  for (const family of [4, 6] as const) {
    const descriptor = must(options.open("tcp", family));
    equal(options.mark(descriptor, 0x539), undefined);
    equal(options.transparent(descriptor, family), undefined);
    equal(options.freebind(descriptor, family), undefined);
    options.close(descriptor);
  }
});
