// The client against a server of the runtime that plays every good and bad part.
import assert from "node:assert/strict";
import { once } from "node:events";
import type { ServerHttp2Stream } from "node:http2";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { duplexPair, type Duplex } from "node:stream";
import { test } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { GrpcClient } from "./client.ts";
import { HEADERS, pair, type Answer } from "./client-fixtures.ts";
import { dialUnix } from "./dial.ts";
import { framed } from "./framing.ts";
import { CallEnd, GRPC } from "./status.ts";

const CALL = { method: "/test.Echo/Call", message: Buffer.from("question"), metadata: { "x-proof": "mine" } };
const DEADLINE_MS = 5_000;

function ok(stream: ServerHttp2Stream, ...messages: readonly Uint8Array[]): void {
  stream.respond(HEADERS, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  for (const message of messages) stream.write(message);
  stream.end();
}

test("a unary call: request as the protocol wants it, the one answer, one session for many calls", async (t) => {
  const seen: Record<string, unknown>[] = [];
  const bodies: Buffer[] = [];
  let sessions = 0;
  const { client, server } = await pair(t, (stream, headers) => {
    seen.push(headers);
    const body: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => body.push(chunk));
    stream.on("end", () => {
      bodies.push(Buffer.concat(body));
      ok(stream, framed(Buffer.from("answer")));
    });
  });
  server.on("session", () => (sessions += 1));
  for (let call = 0; call < 3; call += 1) assert.equal(String(await client.unary(CALL, DEADLINE_MS)), "answer");
  assert.equal(sessions, 1);
  const {
    ":method": method,
    ":path": path,
    te,
    "content-type": type,
    "grpc-timeout": timeout,
    "x-proof": proof,
  } = seen[0] ?? {};
  assert.deepEqual(
    [method, path, te, type, timeout, proof],
    ["POST", CALL.method, "trailers", "application/grpc+proto", "5000m", "mine"],
  );
  assert.deepEqual(bodies[0], framed(Buffer.from("question")));
});

test("a stream: messages in order however they are cut, then its end", async (t) => {
  const { client } = await pair(t, (stream) => {
    const bytes = Buffer.concat(["one", "", "three"].map((text) => framed(Buffer.from(text))));
    ok(stream, ...[...bytes].map((byte) => Buffer.from([byte])));
  });
  const messages: string[] = [];
  const end = await client.stream(CALL, (message) => messages.push(String(message))).ended;
  assert.equal(end.status, GRPC.ok);
  assert.deepEqual(messages, ["one", "", "three"]);
});

const BAD: readonly (readonly [string, Answer, number, RegExp])[] = [
  ["a status in headers only", (stream) => stream.respond({ ...HEADERS, "grpc-status": "7", "grpc-message": "not%20you%0a" }, { endStream: true }), GRPC.permissionDenied, /^PERMISSION_DENIED: not you\?$/],
  ["a status after half an answer", (stream) => { stream.respond(HEADERS, { waitForTrailers: true }); stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "14" })); stream.end(); }, GRPC.unavailable, /^UNAVAILABLE$/],
  ["a status that is no number", (stream) => stream.respond({ ...HEADERS, "grpc-status": "x" }, { endStream: true }), GRPC.unknown, /./],
  ["an HTTP error", (stream) => stream.respond({ ":status": 503 }, { endStream: true }), GRPC.unavailable, /HTTP status 503/],
  ["another content type", (stream) => stream.respond({ ":status": 200, "content-type": "text/html" }, { endStream: true }), GRPC.unknown, /content type text\/html/],
  ["no message where one was due", (stream) => ok(stream), GRPC.internal, /0 messages/],
  ["two messages where one was due", (stream) => ok(stream, framed(CALL.message), framed(CALL.message)), GRPC.internal, /2 messages/],
  ["a message that is too long", (stream) => ok(stream, framed(Buffer.alloc(1_001))), GRPC.resourceExhausted, /1001 bytes, 1000/],
  ["a compressed message", (stream) => ok(stream, Buffer.from([1, 0, 0, 0, 1, 65])), GRPC.unimplemented, /compressed/],
  ["a cut message", (stream) => ok(stream, framed(CALL.message).subarray(0, 8)), GRPC.internal, /cut/],
  ["no status", (stream) => { stream.respond(HEADERS); stream.end(); }, GRPC.internal, /without a status/],
  ["a reset", (stream) => { stream.close(7); }, GRPC.unavailable, /refused/],
]; // oxfmt-ignore

for (const [what, answer, status, text] of BAD) {
  test(`an answer that is none: ${what}`, async (t) => {
    const { client } = await pair(t, answer);
    const end = await client.unary(CALL, DEADLINE_MS);
    assert(end instanceof CallEnd, String(end));
    assert.equal(end.status, status, String(end));
    assert.match(String(end), text);
  });
}

test("a server that says nothing meets the deadline, and the stream is given up", async (t) => {
  const { promise: reset, resolve: onReset } = Promise.withResolvers<number | undefined>();
  const { promise: arrived, resolve: onStream } = Promise.withResolvers<void>();
  const { client, clock } = await pair(t, (stream) => {
    stream.on("close", () => onReset(stream.rstCode));
    stream.resume();
    onStream();
  });
  const answer = client.unary(CALL, DEADLINE_MS);
  await arrived;
  clock.advance(DEADLINE_MS);
  const end = await answer;
  assert(end instanceof CallEnd);
  assert.equal(end.status, GRPC.deadlineExceeded);
  assert.equal(await reset, 8);
});

test("a session that is lost ends its calls, and the next call opens another", async (t) => {
  let calls = 0;
  const { client } = await pair(t, (stream) => {
    calls += 1;
    if (calls === 1) stream.session?.destroy();
    else ok(stream, framed(Buffer.from("again")));
  });
  const end = await client.unary(CALL, DEADLINE_MS);
  assert(end instanceof CallEnd);
  assert.equal(String(await client.unary(CALL, DEADLINE_MS)), "again");
});

test("nobody there, somebody silent, and a closed client are ends, not errors", async (t) => {
  const clock = new FakeClock();
  const folder = mkdtempSync(join(tmpdir(), "culvert-grpc-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "socket");
  const client = new GrpcClient({
    dial: () => dialUnix(path),
    authority: "localhost",
    secure: false,
    clock,
    maxMessageBytes: 10,
  });
  assert.match(String(await client.unary(CALL, DEADLINE_MS)), /^UNAVAILABLE: connect ENOENT/);
  const silent = createTcpServer();
  const { promise: accepted, resolve: onAccepted } = Promise.withResolvers<void>();
  silent.on("connection", (socket) => {
    socket.on("error", () => undefined);
    t.after(() => socket.destroy());
    onAccepted();
  });
  silent.listen(path);
  await once(silent, "listening");
  t.after(() => silent.close());
  const stream = client.stream(CALL, () => undefined);
  await accepted;
  clock.advance(10_000);
  assert.match(String(await stream.ended), /^UNAVAILABLE: the server did not answer in time/);
  client.close();
  assert.match(String(await client.unary(CALL, DEADLINE_MS)), /^CANCELLED: the client is closed/);
});

test("a server that has gone without a word is missed by its PING", async (t) => {
  const { clock, path } = await pair(t, (stream) => {
    stream.respond(HEADERS);
    stream.write(framed(Buffer.from("first")));
  });
  let mute = false;
  const dial = (): Duplex => {
    const [ours, relay] = duplexPair();
    const socket = dialUnix(path);
    relay.on("data", (chunk) => socket.write(chunk));
    socket.on("data", (chunk) => mute || relay.write(chunk));
    ours.on("close", () => socket.destroy());
    return ours;
  };
  const client = new GrpcClient({ dial, authority: "localhost", secure: false, clock, maxMessageBytes: 1_000 });
  t.after(() => client.close());
  const { promise: first, resolve: onMessage } = Promise.withResolvers<void>();
  const stream = client.stream(CALL, () => onMessage());
  await first;
  mute = true;
  clock.advance(30_000);
  clock.advance(30_000);
  assert.match(String(await stream.ended), /^UNAVAILABLE: the server no longer answers/);
});
