// The transparent listener without rules of the kernel: what was not captured is refused, and own connections are found. With
// rules it is in test/e2e/capture.test.ts.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import { must } from "@culvert/test/support/must.ts";
import { needs } from "@culvert/test/support/needs.ts";
import { until } from "@culvert/test/support/until.ts";
import type { CaptureConfig } from "@culvert/shared/config/process/process-config.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { acceptBulk } from "@culvert/shared/net/accept-bulk.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { connectBulk } from "@culvert/shared/net/connect-bulk.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { prepareDials } from "@culvert/shared/net/prepared-dials.ts";
import { loadSocketOptions } from "@culvert/shared/net/socket-options.ts";
import { LoopGuard } from "./loop-guard.ts";
import type { Outbound } from "./outbound.ts";
import { openCapture } from "./transparent.ts";

const nothing = { ports: [], cidrs: [], users: [], groups: [] };
const exempting = (exempt: CaptureConfig["exempt"]): CaptureConfig => ({
  exempt,
  outbound: { include: nothing, exclude: nothing },
  inbound: { include: { ports: [] }, exclude: { ports: [], sources: [] } },
});
const OWN_USER = process.geteuid?.() ?? 0;

for (const host of ["127.0.0.1", "::1"]) {
  test(`a connection that nobody captured is reset and told of: ${host}`, async (context) => {
    const capture = must(await openCapture(exempting({ kind: "user", id: OWN_USER })));
    const told: Failure[] = [];
    const carried = { carry: () => assert.fail("nothing may be carried") } as unknown as Outbound;
    const server = must(
      await capture.listen({ kind: "tcp", host: "", port: 0 }, carried, {
        onRefused: (_client, failure) => void told.push(failure),
        onAcceptError: (failure) => assert.fail(failure.toString()),
      }),
    );
    context.after(() => server.close());
    const client = connect({ host, port: server.address.port });
    const [error] = (await once(client, "error")) as [NodeJS.ErrnoException];
    assert.equal(error.code, "ECONNRESET");
    assert.deepEqual(
      told.map(({ code }) => code),
      ["SELF_CALL"],
    );
  });
}

test("a uproxy that the rules could not tell from the app does not start", async () => {
  const others = await openCapture(exempting({ kind: "user", id: OWN_USER + 1 }));
  assert.ok(isFailure(others));
  assert.match(others.detail, new RegExp(`runs as user ${OWN_USER}, but capture.exempt.user is ${OWN_USER + 1}`));
  const group = await openCapture(exempting({ kind: "group", id: (process.getegid?.() ?? 0) + 1 }));
  assert.ok(isFailure(group));
  assert.ok(!isFailure(await openCapture(exempting({ kind: "group", id: process.getegid?.() ?? 0 }))));
});

test("with a mark every dial is made with a socket that carries it", needs({ root: true }), async (context) => {
  must(await openCapture(exempting({ kind: "mark", id: 0x539 })));
  context.after(() => prepareDials(undefined));
  const accepted: BulkSocket[] = [];
  const onSocket = (socket: BulkSocket): void => void accepted.push(socket);
  const server = must(await acceptBulk({ host: "::1", port: 0, onSocket }));
  context.after(() => server.close());
  const { port } = server.address;
  const socket = must(await connectBulk({ host: "::1", port, timeoutMs: 5_000, clock: systemClock }));
  context.after(() => socket.reset());
  assert.equal(markOf(socket), 0x539);
});

/** SO_MARK of a socket. */
function markOf({ descriptor }: BulkSocket): number {
  const ffi = process.getBuiltinModule("node:ffi");
  const getsockopt = new ffi.DynamicLibrary(null).getFunction("getsockopt", {
    arguments: ["i32", "i32", "i32", "pointer", "pointer"],
    return: "i32",
  });
  const value = Buffer.alloc(4);
  assert.equal(getsockopt(descriptor, 1, 36, value, Buffer.from([4, 0, 0, 0])), 0);
  return value.readUInt32LE();
}

/** A connection of our own to a listener that is accepted as if it had been captured on its way there. */
async function ownConnection(
  context: TestContext,
  guard: LoopGuard,
): Promise<{ dialled: BulkSocket; found: boolean[] }> {
  const found: boolean[] = [];
  const accepted: BulkSocket[] = [];
  const onSocket = (socket: BulkSocket): void => {
    accepted.push(socket);
    found.push(guard.isOwn(socket, socket.local));
  };
  const server = must(await acceptBulk({ host: "127.0.0.1", port: 0, onSocket }));
  const [host, { port }] = ["127.0.0.1", server.address];
  const onDialling = (socket: BulkSocket): void => guard.dialling(socket, host, port);
  const dialled = must(await connectBulk({ host, port, onDialling, timeoutMs: 5_000, clock: systemClock }));
  await until("the other end", () => found.length > 0);
  context.after(async () => {
    for (const socket of [dialled, ...accepted]) socket.reset();
    await server.close();
  });
  return { dialled, found };
}

test("an own connection that comes back is found when it is accepted", async (context) => {
  const guard = new LoopGuard(must(await loadSocketOptions()));
  const { found } = await ownConnection(context, guard);
  assert.deepEqual(found, [true]);
});

test("another connection from the same port is none of ours, and a closed one is forgotten", async (context) => {
  const guard = new LoopGuard(must(await loadSocketOptions()));
  const { dialled } = await ownConnection(context, guard);
  const { local, remote } = dialled;
  const other = { remote: local } as BulkSocket;
  assert.equal(guard.isOwn(other, remote), true);
  assert.equal(guard.isOwn(other, { ...remote, port: 1 }), false);
  const closed = once(dialled.socket, "close");
  dialled.reset();
  await closed;
  assert.equal(guard.isOwn(other, remote), false);
});
