// How much waits for a socket: many bytes or many small chunks, whichever comes first.
import { equal, ok } from "node:assert/strict";
import type { Socket } from "node:net";
import { Writable } from "node:stream";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { Gatherer } from "./flush.ts";

/** A socket whose kernel takes nothing until it is told to. */
function fullSocket(): { readonly socket: Socket; readonly taken: () => number; readonly take: () => void } {
  let release: (() => void) | undefined;
  let bytes = 0;
  let open = false;
  const held = (size: number, done: () => void): void => {
    bytes += size;
    if (open) done();
    else release = done;
  };
  const socket = new Writable({
    highWaterMark: 64 * 1024,
    write: (chunk: Buffer, _encoding, done) => held(chunk.length, done),
    writev: (chunks, done) =>
      held(
        chunks.reduce((sum, { chunk }) => sum + (chunk as Buffer).length, 0),
        done,
      ),
  });
  return {
    socket: socket as Socket,
    taken: () => bytes,
    take: () => {
      open = true;
      release?.();
    },
  };
}

test("many small chunks stop the writer however few their bytes, and it hears when they are taken", async () => {
  const { socket, taken, take } = fullSocket();
  let room = 0;
  const gatherer = new Gatherer(socket, () => void (room += 1));
  let written = 1;
  while (gatherer.write(Buffer.of(1))) written += 1;
  ok(written > 100 && written < 1_000, `${written} single bytes wait`);
  equal(room, 0);
  take();
  await turn();
  equal(room, 1);
  equal(taken(), written);
});

test("small chunks between large ones of a turn are counted too", async () => {
  const { socket, taken, take } = fullSocket();
  let room = 0;
  const gatherer = new Gatherer(socket, () => void (room += 1));
  gatherer.write(Buffer.alloc(16_384));
  let written = 1;
  while (gatherer.write(Buffer.of(1))) written += 1;
  ok(written < 1_000, `${written} single bytes wait`);
  take();
  await turn();
  ok(room > 0);
  equal(taken(), 16_384 + written);
});

test("a reader that keeps up takes any number of small chunks", async () => {
  const { socket, taken, take } = fullSocket();
  take();
  const gatherer = new Gatherer(socket, () => {});
  for (let index = 0; index < 10_000; index++) {
    equal(gatherer.write(Buffer.of(1)), true);
    if (index % 100 === 0) await turn();
  }
  equal(taken(), 10_000);
});
