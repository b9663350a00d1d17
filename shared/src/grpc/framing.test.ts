import assert from "node:assert/strict";
import { test } from "node:test";
import { held } from "@culvert/test/support/neighbour.ts";
import { Deframer, framed } from "./framing.ts";
import { CallEnd } from "./status.ts";

const MIB = 1024 * 1024;
/** A hundred times what is held of them, if each piece is. */
const PIECES = 200_000;
const MOST_HELD_MIB = 4;

function take(deframer: Deframer, chunk: Buffer): readonly Buffer[] {
  const messages = deframer.take(chunk);
  assert.ok(!(messages instanceof CallEnd));
  return messages;
}

test("messages are the same however they are cut", () => {
  const messages = [0, 1, 4, 5_000, 4_096, 70_000, 3].map((length, index) => Buffer.alloc(length, index + 1));
  const whole = Buffer.concat(messages.map(framed));
  for (const size of [1, 2, 7, 4_095, 4_096, 16_384, whole.length]) {
    const deframer = new Deframer(100_000);
    const got: Buffer[] = [];
    for (let at = 0; at < whole.length; at += size) {
      // A copy: what is given may be written over.
      got.push(...take(deframer, Buffer.from(whole.subarray(at, at + size))));
    }
    assert.deepEqual(got, messages, `pieces of ${size}`);
    assert.equal(deframer.held, 0);
  }
});

test("a message that comes byte by byte costs about what it weighs", () => {
  const deframer = new Deframer(MIB);
  const message = framed(Buffer.alloc(MIB, 7));
  const before = held().heapBytes + process.memoryUsage().arrayBuffers;
  for (let at = 0; at < PIECES; at += 1) take(deframer, Buffer.from(Uint8Array.of(message[at] ?? 0).buffer));
  const grown = (held().heapBytes + process.memoryUsage().arrayBuffers - before) / MIB;
  assert.equal(deframer.held, PIECES);
  assert.ok(grown < MOST_HELD_MIB, `${grown.toFixed(1)} MiB are held`);
  const [whole] = take(deframer, message.subarray(PIECES));
  assert.deepEqual(whole, Buffer.alloc(MIB, 7));
});
