// Streams both ways, against a server of the runtime.
import assert from "node:assert/strict";
import type { ServerHttp2Stream } from "node:http2";
import { test } from "node:test";
import { until } from "@culvert/test/support/until.ts";
import { HEADERS, pair } from "./client-fixtures.ts";
import type { GrpcDuplex } from "./client.ts";
import { Deframer, framed } from "./framing.ts";
import { CallEnd, GRPC } from "./status.ts";

const OPENING = { method: "/test.Echo/Talk", contentType: "application/grpc+test", metadata: { "x-proof": "mine" } };

/** Answers each message with itself, and ends well when the client has finished. */
function echo(stream: ServerHttp2Stream): void {
  const deframer = new Deframer(1_000_000);
  stream.respond(HEADERS, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.on("data", (chunk: Buffer) => {
    const messages = deframer.take(chunk);
    assert(!(messages instanceof CallEnd));
    for (const message of messages) stream.write(framed(message));
  });
  stream.on("end", () => stream.end());
}

test("messages go both ways in order, and the end comes when both have finished", async (t) => {
  const seen: Record<string, unknown>[] = [];
  const { client } = await pair(t, (stream, headers) => {
    seen.push(headers);
    echo(stream);
  });
  const got: string[] = [];
  const stream: GrpcDuplex = client.duplex(OPENING, {
    onMessage: (message) => {
      got.push(String(message));
      if (got.length === 2) {
        assert.equal(stream.send(Buffer.from("three")), true);
        stream.finish();
      }
    },
    onDrain: () => undefined,
  });
  assert.equal(stream.send(Buffer.from("one")), true);
  assert.equal(stream.send(Buffer.from("two")), true);
  assert.equal((await stream.ended).status, GRPC.ok);
  assert.deepEqual(got, ["one", "two", "three"]);
  assert.deepEqual(
    [seen[0]?.["content-type"], seen[0]?.["x-proof"], seen[0]?.["grpc-timeout"]],
    ["application/grpc+test", "mine", undefined],
  );
  assert.equal(stream.send(Buffer.from("four")), false);
});

test("a server that ends with a status ends it, whatever is still to be sent", async (t) => {
  const { client } = await pair(t, (stream) => {
    stream.respond(HEADERS, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "7", "grpc-message": "not you" }));
    stream.end(framed(Buffer.from("last")));
  });
  const got: string[] = [];
  const onMessage = (message: Buffer): number => got.push(String(message));
  const stream = client.duplex(OPENING, { onMessage, onDrain: () => undefined });
  stream.send(Buffer.from("one"));
  assert.equal(String(await stream.ended), "PERMISSION_DENIED: not you");
  assert.deepEqual(got, ["last"]);
});

test("a server that reads nothing is told of no more until it reads again", async (t) => {
  let server: ServerHttp2Stream | undefined;
  const { client } = await pair(t, (stream) => {
    stream.pause();
    stream.respond(HEADERS);
    server = stream;
  });
  let drained = 0;
  const stream = client.duplex(OPENING, { onMessage: () => undefined, onDrain: () => (drained += 1) });
  // More than the window that a server grants at first.
  const message = Buffer.alloc(100_000);
  assert.equal(stream.send(message), false);
  await until("the server has the stream", () => server !== undefined);
  assert.equal(drained, 0);
  let received = 0;
  server?.on("data", (chunk: Buffer) => (received += chunk.length));
  server?.resume();
  await until("it takes messages again", () => drained > 0);
  await until("all has come", () => received === message.length + 5);
  stream.cancel();
  assert.equal((await stream.ended).status, GRPC.cancelled);
});

test("whoever sends on all the same ends the stream", async (t) => {
  const { client } = await pair(t, (stream) => {
    stream.pause();
    stream.respond(HEADERS);
  });
  const stream = client.duplex(OPENING, { onMessage: () => undefined, onDrain: () => undefined });
  for (let count = 0; count < 100; count += 1) stream.send(Buffer.alloc(100_000));
  assert.match(String(await stream.ended), /^RESOURCE_EXHAUSTED: the server takes no messages/);
});

test("a lost connection ends it, and a closed client opens none", async (t) => {
  const { client } = await pair(t, (stream) => stream.session?.destroy());
  const events = { onMessage: () => undefined, onDrain: () => undefined };
  const lost = client.duplex(OPENING, events);
  lost.send(Buffer.from("one"));
  assert.equal((await lost.ended).status, GRPC.unavailable);
  client.close();
  const closed = client.duplex(OPENING, events);
  assert.equal(closed.send(Buffer.from("one")), false);
  closed.finish();
  assert.match(String(await closed.ended), /^CANCELLED: the client is closed/);
});
