import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { test, type TestContext } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { isFailure } from "../failure/failure.ts";
import { bind } from "./bind.ts";
import { systemClock } from "./clock.ts";
import { Listeners, processListeners } from "./listeners.ts";

const HOST = "127.0.0.1";
const linux = { skip: process.platform === "linux" ? false : "needs Linux" };

/** A server that says its name to each connection, and counts them. */
async function serve(context: TestContext, name: string, port = 0): Promise<{ server: Server; port: number }> {
  const server = createServer((socket) => socket.on("error", () => undefined).end(name));
  server.listen({ host: HOST, port, reusePort: true });
  await once(server, "listening");
  context.after(() => server.close());
  await nextTurn();
  const address = server.address();
  assert(typeof address === "object" && address !== null);
  return { server, port: address.port };
}

async function greeting(port: number): Promise<string> {
  let text = "";
  for await (const chunk of connect(port, HOST)) text += String(chunk);
  return text;
}

test("paused, connections wait in the kernel's queue; those for operators do not", linux, async (context) => {
  const traffic = await serve(context, "traffic");
  const admin = await serve(context, "admin");
  const listeners = new Listeners();
  listeners.add(traffic.server, true);
  listeners.add(admin.server, false);
  let accepted = 0;
  traffic.server.on("connection", () => (accepted += 1));
  assert.equal(listeners.pause(), true);
  const waiting = connect(traffic.port, HOST);
  await once(waiting, "connect");
  assert.equal(await greeting(admin.port), "admin");
  assert.equal(accepted, 0);
  listeners.resume();
  await once(waiting.resume(), "end");
  assert.equal(accepted, 1);
});

test("a server that is added during a pause is paused too", linux, async (context) => {
  const listeners = new Listeners();
  listeners.pause();
  const late = await serve(context, "late");
  listeners.add(late.server, true);
  await nextTurn();
  let accepted = 0;
  late.server.on("connection", () => (accepted += 1));
  const waiting = connect(late.port, HOST);
  await once(waiting, "connect");
  assert.equal(await greeting((await serve(context, "other")).port), "other");
  assert.equal(accepted, 0);
  listeners.resume();
  await once(waiting.resume(), "end");
});

test("without the kernel's calls nothing pauses, and nothing breaks", async (context) => {
  const { server, port } = await serve(context, "plain");
  const listeners = new Listeners(() => undefined);
  listeners.add(server, true);
  assert.equal(listeners.pause(), false);
  assert.equal(await greeting(port), "plain");
  listeners.resume();
  await listeners.handOver(systemClock);
});

test(
  "handed over, every new connection goes to whoever listens beside us, and the queue is served",
  linux,
  async (context) => {
    const old = await serve(context, "old");
    const listeners = new Listeners();
    listeners.add(old.server, true);
    await serve(context, "new", old.port);
    const before = await Promise.all(Array.from({ length: 64 }, () => greeting(old.port)));
    assert(before.includes("old") && before.includes("new"), "the kernel deals them out between the two");
    const settled = listeners.handOver(systemClock);
    const after = await Promise.all(Array.from({ length: 200 }, () => greeting(old.port)));
    assert.deepEqual(new Set(after), new Set(["new"]));
    await settled;
  },
);

test("handed over to nobody, connections still come to us", linux, async (context) => {
  const alone = await serve(context, "alone");
  const listeners = new Listeners();
  listeners.add(alone.server, true);
  const settled = listeners.handOver(systemClock);
  assert.equal(await greeting(alone.port), "alone");
  await settled;
});

test("a port is shared only on purpose", linux, async (context) => {
  const first = createServer();
  context.after(() => first.close());
  const bound = await bind(first, HOST, await freePort(), () => undefined);
  assert(!isFailure(bound));
  const accident = await bind(createServer(), HOST, bound.port, () => undefined);
  assert(isFailure(accident));
  assert.equal(accident.code, "PORT_UNAVAILABLE");
  processListeners.bindBeside();
  const second = createServer();
  context.after(() => second.close());
  assert(!isFailure(await bind(second, HOST, bound.port, () => undefined)));
});

async function freePort(): Promise<number> {
  const server = createServer().listen({ host: HOST, port: 0 });
  await once(server, "listening");
  const address = server.address();
  assert(typeof address === "object" && address !== null);
  server.close();
  await once(server, "close");
  return address.port;
}
