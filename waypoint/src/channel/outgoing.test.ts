import assert from "node:assert/strict";
import { test } from "node:test";
import type { ByteChannel, ByteSink } from "./channel.ts";
import { Outgoing } from "./outgoing.ts";

class Recorder implements ByteChannel {
  readonly writes: (string | Uint8Array)[] = [];
  readonly queued = 0;
  room = true;

  attach(_sink: ByteSink): void {}
  writeLatin1(text: string): boolean {
    this.writes.push(text);
    return this.room;
  }
  writeBytes(bytes: Uint8Array): boolean {
    this.writes.push(bytes);
    return this.room;
  }
  end(): void {}
  reset(): void {}
  pause(): void {}
  resume(): void {}
}

function written(write: string | Uint8Array | undefined): string {
  return typeof write === "string" ? write : Buffer.from(write ?? []).toString("latin1");
}

test("small pieces become one string", () => {
  const channel = new Recorder();
  const out = new Outgoing(channel);
  out.text("head\r\n");
  out.bytes(Buffer.from("xbodyx"), 1, 5, 6, true);
  out.text("\u00e9");
  assert.equal(out.flush(), true);
  assert.deepEqual(channel.writes, ["head\r\nbody\u00e9"]);
  assert.equal(out.flush(), true);
  assert.equal(channel.writes.length, 1);
});

test("large pieces and what stands around them become one block", () => {
  const channel = new Recorder();
  const out = new Outgoing(channel);
  const bytes = Buffer.alloc(50_000, "a");
  out.text("head");
  out.bytes(bytes, 0, 20_000, 50_000, true);
  out.text("-");
  out.bytes(bytes, 20_000, 50_000, 50_000, true);
  out.text("x".repeat(1000));
  bytes.fill("b");
  out.flush();
  assert.equal(channel.writes.length, 1);
  assert.equal(written(channel.writes[0]), `head${"a".repeat(20_000)}-${"a".repeat(30_000)}${"x".repeat(1000)}`);
});

test("a block grows when more comes than was announced", () => {
  const channel = new Recorder();
  const out = new Outgoing(channel);
  const bytes = Buffer.alloc(20_000, "a");
  for (let i = 0; i < 5; i += 1) out.bytes(bytes, 0, 20_000, 20_000, true);
  out.flush();
  assert.equal(written(channel.writes[0]), "a".repeat(100_000));
});

test("large bytes that are ours and stand alone are not copied", () => {
  const channel = new Recorder();
  const out = new Outgoing(channel);
  const bytes = Buffer.alloc(20_000, "a");
  out.bytes(bytes, 0, 20_000, 20_000, false);
  out.flush();
  assert.equal((channel.writes[0] as Uint8Array).buffer, bytes.buffer);
});

test("says that the channel is full until it has drained", () => {
  const channel = new Recorder();
  channel.room = false;
  const out = new Outgoing(channel);
  out.text("a");
  assert.equal(out.flush(), false);
  assert.equal(out.flush(), false);
  out.drained();
  assert.equal(out.flush(), true);
});
