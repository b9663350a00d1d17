// The transparent listener without rules of the kernel: what was not captured is refused, and own connections are found. With
// rules it is in test/e2e/capture.test.ts.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test, type TestContext } from "node:test";
import { must } from "@culvert/test/support/must.ts";
import { until } from "@culvert/test/support/until.ts";
import type { CaptureConfig } from "@culvert/shared/config/process-config.ts";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { acceptBulk, connectBulk, type BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
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

/** Both ends of a connection of which the accepted one was, as it seems, captured on its way to where it came. */
async function pair(context: TestContext): Promise<{ dialled: BulkSocket; captured: BulkSocket }> {
  const accepted: BulkSocket[] = [];
  const onSocket = (socket: BulkSocket): void => void accepted.push(socket);
  const server = must(await acceptBulk({ host: "127.0.0.1", port: 0, onSocket }));
  const { port } = server.address;
  const dialled = must(await connectBulk({ host: "127.0.0.1", port, timeoutMs: 5_000, clock: systemClock }));
  const captured = await until("the other end", () => accepted[0]);
  context.after(async () => {
    dialled.reset();
    captured.reset();
    await server.close();
  });
  return { dialled, captured };
}

test("an own connection that comes back is found, whichever end is seen first", async (context) => {
  for (const first of ["dialled", "captured"] as const) {
    const { dialled, captured } = await pair(context);
    const guard = new LoopGuard();
    const ends = [(): boolean => guard.dialled(dialled), (): boolean => guard.captured(captured, dialled.remote)];
    if (first === "captured") ends.reverse();
    assert.deepEqual(
      ends.map((end) => end()),
      [false, true],
    );
  }
});

test("another connection from the same port is none of ours, and a closed one is forgotten", async (context) => {
  const { dialled, captured } = await pair(context);
  const guard = new LoopGuard();
  assert.equal(guard.dialled(dialled), false);
  assert.equal(guard.captured(captured, { ...dialled.remote, port: 1 }), false);
  const closed = once(dialled.socket, "close");
  const { remote } = dialled;
  dialled.reset();
  await closed;
  assert.equal(guard.captured(captured, remote), false);
});
