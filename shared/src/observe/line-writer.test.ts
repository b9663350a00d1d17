import assert from "node:assert/strict";
import { it } from "node:test";
import { FakeClock } from "../net/fake-clock.ts";
import { LineWriter } from "./line-writer.ts";

/** A place to write to whose writes end when the test says so. */
class Place {
  readonly texts: string[] = [];
  #done: ((error: Error | undefined) => void) | undefined;

  readonly write = (text: string, done: (error: Error | undefined) => void): void => {
    assert.equal(this.#done, undefined, "one write at a time");
    this.texts.push(text);
    this.#done = done;
  };

  finish(error?: Error): void {
    const done = this.#done;
    this.#done = undefined;
    assert(done !== undefined, "nothing is being written");
    done(error);
  }
}

it("writes what has gathered after 100 ms, in one write", () => {
  const clock = new FakeClock();
  const place = new Place();
  const writer = new LineWriter(place.write, clock);
  writer.line("one");
  clock.advance(60);
  writer.line("two");
  clock.advance(39);
  assert.deepEqual(place.texts, []);
  clock.advance(1);
  assert.deepEqual(place.texts, ["one\ntwo\n"]);
  place.finish();
  clock.advance(1000);
  assert.equal(place.texts.length, 1);
  assert.equal(clock.pending, 0);
});

it("writes at once when 64 KiB have gathered", () => {
  const clock = new FakeClock();
  const place = new Place();
  const writer = new LineWriter(place.write, clock);
  for (let index = 0; index < 64; index += 1) writer.line("x".repeat(1023));
  assert.equal(place.texts.length, 1);
  assert.equal(place.texts[0]?.length, 64 * 1024);
  assert.equal(clock.pending, 0, "the timer of the batch is gone");
});

it("gathers behind a write that does not end, drops beyond its bound, and counts", () => {
  const clock = new FakeClock();
  const place = new Place();
  const writer = new LineWriter(place.write, clock, 1000);
  writer.line("first");
  clock.advance(100);
  for (let index = 0; index < 100_000; index += 1) writer.line("x".repeat(99));
  assert.equal(place.texts.length, 1);
  assert.equal(writer.dropped, 100_000 - 10);
  place.finish();
  assert.equal(place.texts[1]?.length, 1000, "what was kept goes out in one write");
  place.finish();
  writer.line("after");
  clock.advance(100);
  assert.equal(place.texts[2], "after\n");
});

it("counts the lines of a write that failed, and goes on", () => {
  const clock = new FakeClock();
  const place = new Place();
  const writer = new LineWriter(place.write, clock);
  writer.line("a");
  writer.line("b");
  clock.advance(100);
  place.finish(new Error("EPIPE"));
  assert.equal(writer.dropped, 2);
  writer.line("c");
  clock.advance(100);
  assert.equal(place.texts[1], "c\n");
});

it("flushes for the end of the process, and gives up after its time", async () => {
  const clock = new FakeClock();
  const place = new Place();
  const writer = new LineWriter(place.write, clock);
  await writer.flush(1000);
  writer.line("last words");
  const flushed = writer.flush(1000);
  assert.deepEqual(place.texts, ["last words\n"]);
  writer.line("more");
  place.finish();
  place.finish();
  await flushed;
  assert.equal(clock.pending, 0);

  writer.line("never");
  const late = writer.flush(1000);
  clock.advance(1000);
  await late;
});
