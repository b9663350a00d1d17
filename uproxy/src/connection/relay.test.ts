import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { fail, isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { acceptBulk, type BulkServer } from "@culvert/shared/net/accept-bulk.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { connectBulk } from "@culvert/shared/net/connect-bulk.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { relay } from "./relay.ts";

const QUEUE_BYTES = 64 * 1024;

function must<T>(value: T | Failure): T {
  if (isFailure(value)) throw new Error(value.toString());
  return value;
}

/** An app, a relay before it, and a client of that relay. */
async function chain(
  context: TestContext,
): Promise<{ readonly client: Socket; readonly app: Socket; readonly running: Promise<ReturnType<typeof relay>> }> {
  const apps: Server = createServer({ allowHalfOpen: true });
  await once(apps.listen(0, "127.0.0.1"), "listening");
  const accepted = once(apps, "connection") as Promise<[Socket]>;
  const { port } = apps.address() as { port: number };
  const running = Promise.withResolvers<ReturnType<typeof relay>>();
  const front: BulkServer = must(
    await acceptBulk({
      host: "127.0.0.1",
      port: 0,
      onSocket: (socket: BulkSocket) => {
        void connectBulk({ host: "127.0.0.1", port, timeoutMs: 5_000, clock: systemClock }).then((destination) =>
          running.resolve(relay(socket, must(destination), QUEUE_BYTES)),
        );
      },
    }),
  );
  const client = connect({ port: front.address.port, host: "127.0.0.1", allowHalfOpen: true });
  const [app] = await accepted;
  for (const socket of [client, app]) socket.on("error", () => undefined);
  context.after(async () => {
    client.destroy();
    app.destroy();
    apps.close();
    await front.close();
  });
  return { client, app, running: running.promise };
}

async function received(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  await once(socket, "end");
  return Buffer.concat(chunks);
}

test("carries bytes and half-closes both ways, and counts them", { timeout: 20_000 }, async (context) => {
  const { client, app, running } = await chain(context);
  const request = Buffer.alloc(3_000_000, "q");
  const response = Buffer.alloc(2_000_000, "r");
  client.end(request);
  assert.ok((await received(app)).equals(request));
  app.end(response);
  assert.ok((await received(client)).equals(response));
  const ended = await (await running).ended;
  assert.deepEqual(ended, { fromSocket: request.length, toSocket: response.length, failure: undefined });
});

test("a reader that stops, stops the writer", { timeout: 20_000 }, async (context) => {
  const { client, app, running } = await chain(context);
  app.pause();
  const chunk = Buffer.alloc(1_000_000, "x");
  let written = 0;
  while (client.writableLength < 8_000_000) {
    client.write(chunk);
    written += chunk.length;
    await new Promise(setImmediate);
  }
  const relayed = (await running).fromSocket;
  assert.ok(relayed < written - 4_000_000, `${relayed} of ${written} bytes were taken though nobody reads`);
  app.resume();
  client.end();
  assert.equal((await received(app)).length, written);
});

test("a reset of one side is a reset of the other, with whose fault it was", { timeout: 20_000 }, async (context) => {
  const { client, app, running } = await chain(context);
  const started = await running;
  const lost = once(client, "error") as Promise<[NodeJS.ErrnoException]>;
  app.resetAndDestroy();
  assert.equal((await lost)[0].code, "ECONNRESET");
  assert.equal((await started.ended).failure?.code, "APP_RESET");
});

test("an abort resets both sides and keeps its reason", { timeout: 20_000 }, async (context) => {
  const { client, app, running } = await chain(context);
  const started = await running;
  const lost = Promise.all([client, app].map((socket) => new Promise((resolve) => socket.on("close", resolve))));
  const reason = fail("DRAINING", "test");
  started.abort(reason);
  await lost;
  assert.equal((await started.ended).failure, reason);
});
