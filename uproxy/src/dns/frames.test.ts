import assert from "node:assert/strict";
import { test } from "node:test";
import { frame, FrameReader } from "./frames.ts";

test("messages come out as they went in, wherever the stream is cut", () => {
  const messages = ["", "a", "bc", "def".repeat(100)].map((text) => Buffer.from(text));
  const stream = Buffer.concat(messages.map(frame));
  for (let first = 0; first <= stream.length; first += 1) {
    for (const second of [first, first + 1, first + 2, stream.length]) {
      const reader = new FrameReader();
      const found: Buffer[] = [];
      for (const chunk of [stream.subarray(0, first), stream.subarray(first, second), stream.subarray(second)]) {
        reader.push(chunk);
        for (let message = reader.next(); message !== undefined; message = reader.next()) found.push(message);
      }
      assert.deepEqual(found, messages);
    }
  }
});

test("messages may be taken one by one, and the bytes used again once there are no more", () => {
  const reader = new FrameReader();
  const chunk = Buffer.concat([frame(Buffer.from("one")), frame(Buffer.from("two")).subarray(0, 3)]);
  reader.push(chunk);
  assert.equal(String(reader.next()), "one");
  assert.equal(reader.next(), undefined);
  chunk.fill(0);
  reader.push(Buffer.from("wo"));
  assert.equal(String(reader.next()), "two");
});
