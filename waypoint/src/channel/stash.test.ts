import assert from "node:assert/strict";
import { test } from "node:test";
import { Stash } from "./stash.ts";

function content(stash: Stash): string {
  return stash.bytes.toString("latin1", stash.start, stash.end);
}

test("keeps a copy, in order, across growth and consumption", () => {
  const stash = new Stash(100_000);
  const chunk = Buffer.from("abcdef");
  assert.equal(stash.append(chunk, 1, 4), true);
  chunk.fill("x");
  assert.equal(content(stash), "bcd");
  stash.consume(stash.start + 2);
  let expected = "d";
  for (let i = 0; i < 3000; i += 1) {
    stash.append(Buffer.from(String(i)), 0, String(i).length);
    expected += String(i);
  }
  assert.equal(content(stash), expected);
  stash.consume(stash.end);
  assert.equal(stash.length, 0);
  assert.equal(stash.bytes.length, 0, "nothing is held when nothing is kept");
});

test("takes nothing over its bound", () => {
  const stash = new Stash(10);
  assert.equal(stash.append(Buffer.alloc(8), 0, 8), true);
  assert.equal(stash.append(Buffer.alloc(3), 0, 3), false);
  assert.equal(stash.length, 8);
  assert.equal(stash.append(Buffer.alloc(2), 0, 2), true);
});

test("a half head is worth scanning when a line has ended, or has doubled", () => {
  const stash = new Stash(1000);
  const add = (text: string): void => void stash.append(Buffer.from(text), 0, text.length);
  add("GET /x HTTP/1.1\r\nHost");
  stash.noteScan(17, 0, 21);
  assert.equal(stash.worthScanning, false);
  add(": r");
  assert.equal(stash.worthScanning, false);
  add("\r\n");
  assert.equal(stash.worthScanning, true);
  stash.noteScan(26, 1, 26);
  assert.equal(stash.worthScanning, true);
  add("Cookie: aaaa");
  stash.noteScan(26, 1, 38);
  add("a".repeat(11));
  assert.equal(stash.worthScanning, false);
  add("a");
  assert.equal(stash.worthScanning, true);
});
