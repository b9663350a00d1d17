// DNS by TCP: many requests in one connection, answers of many messages, and clients that are slow, silent or too many.
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { ip } from "@culvert/test/support/fixtures.ts";
import { until } from "@culvert/test/support/until.ts";
import { query, readAnswer, replyTo } from "./dns-fixtures.ts";
import { frame, FrameReader } from "./frames.ts";
import { closed, lab, resolver, tcpClient, value } from "./lab-fixtures.ts";
import { IDLE_MS } from "./tcp-session.ts";

test("several requests at once, answers as they come, in whatever pieces", async (context) => {
  const held: (() => void)[] = [];
  const upstream = await resolver(context, (asked, reply) => held.push(() => reply(replyTo(asked))));
  const { port } = await lab(context, [upstream]);
  const { socket, next } = await tcpClient(context, port);
  const stream = Buffer.concat([
    frame(query("one.example", { id: 1 })),
    frame(query("reviews", { id: 2 })),
    frame(query("two.example", { id: 3 })),
  ]);
  for (const byte of stream) socket.write(Buffer.from([byte]));
  assert.equal((await next()).readUInt16BE(0), 2);
  await until("both requests", () => held.length === 2);
  held[1]?.();
  assert.equal((await next()).readUInt16BE(0), 3);
  held[0]?.();
  assert.equal((await next()).readUInt16BE(0), 1);
  socket.end();
  await closed(socket);
});

test("a zone transfer is many messages, and ends as the resolver ends it", async (context) => {
  const upstream = await resolver(context, (asked, reply, from) => {
    for (let part = 0; part < 50; part += 1)
      reply(replyTo(asked, { answers: [{ type: 16, ttl: 1, data: Buffer.alloc(10_000) }] }));
    if ("end" in from) from.end();
  });
  const { port } = await lab(context, [upstream]);
  const { socket, next } = await tcpClient(context, port);
  socket.write(frame(query("zone", { type: 252 })));
  for (let part = 0; part < 50; part += 1) assert.ok((await next()).length > 10_000);
  await closed(socket);
});

test("a resolver that closes before it answers is asked once more, an update is not", async (context) => {
  let closes = 1;
  const upstream = await resolver(context, (asked, reply, from) => {
    if (closes > 0 && "end" in from) {
      closes -= 1;
      from.end();
    } else reply(replyTo(asked));
  });
  const { port } = await lab(context, [upstream]);
  const { socket, next } = await tcpClient(context, port);
  socket.write(frame(query("example.com")));
  assert.equal(readAnswer(await next()).rcode, 0);
  closes = 1;
  socket.write(frame(query("zone", { flags: 0x2800, type: 6 })));
  assert.equal(readAnswer(await next()).rcode, 2);
  assert.equal(upstream.asked.length, 3);
});

test("silence is answered in time; the next resolver is dialled when one is gone", async (context) => {
  const clock = new FakeClock();
  const upstream = await resolver(context, () => undefined);
  const { port } = await lab(context, [{ ip: ip("127.0.0.1"), port: 1 }, upstream], { clock });
  const { socket, next } = await tcpClient(context, port);
  socket.write(frame(query("example.com")));
  await until("the request", () => upstream.asked.length === 1);
  clock.advance(4_500);
  assert.equal(readAnswer(await next()).rcode, 2);
});

test("a client that drips, or says nothing, is let go", async (context) => {
  const clock = new FakeClock();
  const { port } = await lab(context, [], { clock });
  const silent = await tcpClient(context, port);
  const dripping = await tcpClient(context, port);
  dripping.socket.write(Buffer.from([0]));
  const busy = await tcpClient(context, port);
  busy.socket.write(frame(query("reviews")));
  await busy.next();
  clock.advance(IDLE_MS - 1);
  busy.socket.write(frame(query("reviews")));
  await busy.next();
  clock.advance(1);
  await Promise.all([silent, dripping].map(({ socket }) => closed(socket)));
  assert.equal(busy.socket.destroyed, false);
});

test("bytes that are no request end the connection; a length of nothing too", async (context) => {
  const { port } = await lab(context, []);
  for (const bytes of [Buffer.from([0, 0]), Buffer.from("GET / HTTP/1.1\r\n\r\n".repeat(2_000))]) {
    const { socket } = await tcpClient(context, port);
    socket.write(bytes);
    await closed(socket);
  }
});

test("clients beyond the limit are refused, and make room when they go", async (context) => {
  const { port, metrics } = await lab(context, []);
  const clients = [];
  for (let index = 0; index < 64; index += 1) clients.push(await tcpClient(context, port));
  const refused = connect(port, "127.0.0.1");
  refused.on("error", () => undefined);
  await closed(refused);
  assert.equal(value(metrics, "culvert_dns_refused_total"), 1);
  clients[0]?.socket.destroy();
  await until("room", async () => {
    const { socket, next } = await tcpClient(context, port);
    socket.write(frame(query("reviews")));
    const outcome = await Promise.race([next(), closed(socket)]);
    return outcome !== undefined;
  });
});

test("a client that does not read holds little, and loses nothing once it does", async (context) => {
  const { port } = await lab(context, []);
  const socket = connect(port, "127.0.0.1");
  context.after(() => socket.destroy());
  await once(socket, "connect");
  socket.pause();
  const COUNT = 2_400;
  const asked = Buffer.concat(Array.from({ length: COUNT }, (_, index) => frame(query("reviews", { id: index }))));
  socket.write(asked);
  const frames = new FrameReader();
  const found: number[] = [];
  socket.on("data", (chunk: Buffer) => {
    frames.push(chunk);
    for (let message = frames.next(); message !== undefined; message = frames.next())
      found.push(message.readUInt16BE(0));
  });
  socket.resume();
  await until("all answers", () => found.length === COUNT);
  assert.deepEqual(
    found,
    Array.from({ length: COUNT }, (_, index) => index),
  );
});
