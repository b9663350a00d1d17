import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, performServerHandshake, type ClientHttp2Session, type ServerHttp2Session } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { type TestContext, test } from "node:test";
import { acceptBulk } from "@culvert/shared/net/accept-bulk.ts";
import type { BulkSocket } from "@culvert/shared/net/bulk-socket.ts";
import { must } from "@culvert/test/support/must.ts";
import { until } from "@culvert/test/support/until.ts";
import { ChannelError, sessionCarrier } from "./channel-duplex.ts";
import { socketChannel } from "./socket-channel.ts";
import { fail } from "@culvert/shared/failure/failure.ts";
import type { ByteChannel } from "./channel.ts";

/** A connection: the client's socket, and what was accepted. */
async function accepted(context: TestContext): Promise<[Socket, BulkSocket]> {
  const came = Promise.withResolvers<BulkSocket>();
  const server = must(await acceptBulk({ host: "127.0.0.1", port: 0, onSocket: came.resolve }));
  const { port } = server.address as { port: number };
  const client = connectTcp(port, "127.0.0.1");
  context.after(async () => {
    client.destroy();
    await server.close();
  });
  return [client, await came.promise];
}

/** A session over the accepted end, and a client's over the other. */
async function sessions(context: TestContext): Promise<[ClientHttp2Session, ServerHttp2Session, ByteChannel, Socket]> {
  const [socket, bulk] = await accepted(context);
  const channel = socketChannel(bulk, "downstream");
  const carrier = sessionCarrier(channel);
  assert.equal(carrier, bulk.socket);
  const server = performServerHandshake(carrier);
  const client = connect("http://app", { createConnection: () => socket });
  client.on("error", () => {});
  server.on("error", () => {});
  await once(client, "remoteSettings");
  return [client, server, channel, socket];
}

test("a session of HTTP/2 takes the socket itself, and carries requests", async (context) => {
  const [client, server] = await sessions(context);
  server.on("stream", (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("x".repeat(300_000));
  });
  const request = client.request({ ":path": "/" });
  let bytes = 0;
  for await (const chunk of request) bytes += (chunk as Buffer).length;
  assert.equal(bytes, 300_000);
});

test("the FIN of the other side ends the session and the socket", async (context) => {
  const [, server, channel, socket] = await sessions(context);
  const closed = once(server, "close");
  socket.end();
  await closed;
  await until("the socket to be gone", () => channel.queued === 0);
});

test("after a session is given up, what still comes is thrown away until the end of the connection", async (context) => {
  const [, server, channel, socket] = await sessions(context);
  server.goaway(0);
  server.destroy(new ChannelError(fail("MISBEHAVING_PEER", "test")));
  const closed = once(socket, "close");
  socket.write(Buffer.alloc(100_000));
  socket.resume();
  await closed;
  await until("the socket to be gone", () => channel.queued === 0);
});

test("what was read before goes through the channel", async (context) => {
  const [client, bulk] = await accepted(context);
  client.write("PRI");
  const read = await bulk.read();
  bulk.unread(read as Buffer);
  const carrier = sessionCarrier(socketChannel(bulk));
  assert.notEqual(carrier, bulk.socket);
  const [chunk] = (await once(carrier, "data")) as [Buffer];
  assert.equal(chunk.toString(), "PRI");
  carrier.destroy();
});
