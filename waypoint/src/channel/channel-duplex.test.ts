import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, performServerHandshake } from "node:http2";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { connect as connectTls, createServer as createTlsServer } from "node:tls";
import { fail } from "@culvert/shared/failure/failure.ts";
import { tunnelCast, tunnelPair } from "@culvert/test/support/tunnel-pair.ts";
import { until } from "@culvert/test/support/until.ts";
import { FakeChannel } from "../channel-fixtures.ts";
import { ChannelError, channelDuplex } from "./channel-duplex.ts";
import { streamChannel } from "./stream-channel.ts";

/** All that comes until the end; unlike the runtime's consumers it leaves the other direction alone. */
async function collect(duplex: Duplex): Promise<string> {
  const chunks: Buffer[] = [];
  duplex.on("data", (chunk: Buffer) => void chunks.push(chunk));
  await once(duplex, "end");
  return Buffer.concat(chunks).toString("latin1");
}

async function errorOf(duplex: Duplex): Promise<unknown> {
  const [error] = (await once(duplex, "error")) as [unknown];
  return error;
}

test("carries bytes both ways, of lent ones a copy, and each half-close", async () => {
  const channel = new FakeChannel();
  const duplex = channelDuplex(channel);
  const received = collect(duplex);
  channel.receive("one ");
  channel.receive("two");
  channel.receiveEnd();
  assert.equal(await received, "one two");
  assert.equal(channel.ended, false);
  duplex.end("answer");
  await once(duplex, "close");
  assert.equal(channel.written, "answer");
  assert.equal(channel.ended, true);
  assert.equal(channel.wasReset, false);
});

test("what is written in one go becomes one write, within a bound", () => {
  const channel = new FakeChannel();
  const lengths: number[] = [];
  channel.writeBytes = (bytes) => lengths.push(bytes.length) > 0;
  const duplex = channelDuplex(channel);
  duplex.cork();
  for (let i = 0; i < 3; i += 1) duplex.write(Buffer.alloc(30_000, i));
  for (let i = 0; i < 3; i += 1) duplex.write(Buffer.alloc(9));
  duplex.uncork();
  assert.deepEqual(lengths, [60_000, 30_027]);
});

test("a reader that does not read holds the channel back", async () => {
  const channel = new FakeChannel();
  const duplex = channelDuplex(channel);
  while (!channel.paused) channel.receive("x".repeat(10_000));
  assert.ok(duplex.readableLength < 200_000);
  duplex.resume();
  await until("the channel to go on", () => !channel.paused);
});

test("a channel that is full holds the writer back", async () => {
  const channel = new FakeChannel();
  const duplex = channelDuplex(channel);
  channel.room = false;
  let taken = 0;
  for (let i = 0; i < 4; i += 1) duplex.write("x".repeat(40_000), () => (taken += 1));
  assert.equal(channel.written.length, 40_000);
  assert.equal(duplex.writableNeedDrain, true);
  channel.drain();
  await until("the writes to be taken", () => taken === 4);
  assert.equal(channel.written.length, 160_000);
});

test("a channel that breaks is an error that says why, never an end", async () => {
  const channel = new FakeChannel();
  const duplex = channelDuplex(channel);
  duplex.resume().on("end", () => assert.fail("an end"));
  channel.receive("half");
  const failure = fail("PEER_RESET", "reset with code 8");
  channel.close(failure);
  const error = await errorOf(duplex);
  assert.ok(error instanceof ChannelError);
  assert.equal(error.failure, failure);
  assert.equal(channel.wasReset, false);
});

test("one that is broken before it is taken over says so too", async () => {
  const { opened, accepted, close } = await streamEnds();
  accepted.reset(fail("INTERNAL", "on purpose"));
  const seen: unknown[] = [];
  opened.attach({ onBytes() {}, onEnd() {}, onDrain() {}, onClose: (failure) => seen.push(failure) });
  await until("the reset", () => seen.length === 1);
  assert.ok((await errorOf(channelDuplex(opened))) instanceof ChannelError);
  await close();
});

test("destroying it resets the channel for the failure that is given", () => {
  const failure = fail("UPSTREAM_TIMEOUT", "no response");
  for (const [error, expected] of [
    [undefined, undefined],
    [new Error("any"), undefined],
    [new ChannelError(failure), failure],
  ] as const) {
    const channel = new FakeChannel();
    channelDuplex(channel)
      .on("error", () => {})
      .destroy(error);
    assert.equal(channel.wasReset, true);
    assert.equal(channel.resetBy, expected);
  }
});

test("a write that waits is told when the channel breaks, and when it ends in order", async () => {
  for (const failure of [undefined, fail("PEER_LOST", "gone")]) {
    const channel = new FakeChannel();
    const duplex = channelDuplex(channel);
    duplex.on("error", () => {});
    channel.room = false;
    const outcomes: unknown[] = [];
    duplex.write("x", (error) => outcomes.push(error instanceof Error));
    channel.close(failure);
    await until("the outcome", () => outcomes.length === 1);
    assert.deepEqual(outcomes, [failure !== undefined]);
  }
});

async function streamEnds() {
  const pair = await tunnelPair();
  const { opened, accepted } = await pair.tunnel();
  return {
    opened: streamChannel(opened.stream, "upstream"),
    accepted: streamChannel(accepted.stream, "downstream"),
    close: () => pair.close(),
  };
}

test("HTTP/2 runs over it: bodies of megabytes both ways", async () => {
  const { opened, accepted, close } = await streamEnds();
  const server = performServerHandshake(channelDuplex(accepted));
  server.on("stream", (stream) => {
    stream.respond({ ":status": 200 });
    stream.on("data", (chunk: Buffer) => {
      if (!stream.write(chunk)) stream.pause();
    });
    stream.on("drain", () => stream.resume()).on("end", () => stream.end());
  });
  const client = connect("http://inside", { createConnection: () => channelDuplex(opened) });
  const body = Buffer.alloc(3_000_000, "body");
  await Promise.all(
    [1, 2, 3].map(async () => {
      const stream = client.request({ ":method": "POST", ":path": "/" });
      stream.end(body);
      assert.equal(Buffer.from(await collect(stream), "latin1").compare(body), 0);
    }),
  );
  client.close();
  await until("the server's session to end", () => server.destroyed);
  await close();
});

test("TLS runs over it", async () => {
  const { opened, accepted, close } = await streamEnds();
  const { server: identity } = await tunnelCast();
  const server = createTlsServer({ cert: identity.svid.chainPem, key: identity.svid.keyPem });
  server.on("secureConnection", (socket) => void socket.end("secret"));
  const ends = [channelDuplex(accepted), channelDuplex(opened)] as const;
  server.emit("connection", ends[0]);
  const socket = connectTls({ socket: ends[1], rejectUnauthorized: false });
  assert.equal(await collect(socket), "secret");
  for (const end of ends) end.on("error", () => {}).destroy();
  await close();
});
