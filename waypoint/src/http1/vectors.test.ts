import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { type Outcome, play, type Script } from "./play-fixtures.ts";

/** One case. */
interface Vector extends Script {
  /** Of the catalogue of attacks, or what it is about. */
  readonly family: string;
  readonly name: string;
  readonly expected: Outcome;
}

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8")) as readonly Vector[];

for (const vector of vectors) {
  test(`${vector.family}: ${vector.name}`, async () => {
    assert.deepEqual(await play(vector, [vector.client], (response) => [response]), vector.expected);
  });
}

test("a split at any byte of the request changes nothing", async () => {
  for (const vector of vectors) {
    const pieces = [...cuts(vector.client), [...symbols(vector.client)]];
    for (const cut of pieces) {
      const outcome = await play(vector, cut, (response) => [response]);
      assert.deepEqual(outcome, vector.expected, `${vector.name}: ${JSON.stringify(cut)}`);
    }
  }
});

test("a split at any byte of the response changes nothing", async () => {
  for (const vector of vectors) {
    const ways = vector.responses.map(cuts);
    const most = Math.max(0, ...ways.map((cut) => cut.length));
    for (let at = 0; at < most; at += 1) {
      const outcome = await play(vector, [vector.client], (response) => cuts(response)[at] ?? [response]);
      assert.deepEqual(outcome, vector.expected, `${vector.name}: response split at ${at + 1}`);
    }
    const outcome = await play(vector, [vector.client], (response) => [...symbols(response)]);
    assert.deepEqual(outcome, vector.expected, `${vector.name}: response byte by byte`);
  }
});

/** All ways to cut `text` in two. */
function cuts(text: string): string[][] {
  const limit = text.replace(/\{(FIN|RST)\}$/, "").length;
  return Array.from({ length: Math.max(0, limit - 1) }, (_, i) => [text.slice(0, i + 1), text.slice(i + 1)]);
}

/** The bytes of `text` one by one, an end of the connection as one piece. */
function symbols(text: string): readonly string[] {
  return text.match(/\{FIN\}|\{RST\}|[^]/g) ?? [];
}
