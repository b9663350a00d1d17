import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fail } from "@culvert/shared/failure/failure.ts";
import type { FakeChannel } from "../channel-fixtures.ts";
import { Bench, turn } from "../exchange-fixtures.ts";
import { messagesOf, shown } from "./message-fixtures.ts";

/** One case. Text is latin1; `{FIN}` and `{RST}` at its end say how a side ends. */
interface Vector {
  readonly family: string;
  readonly name: string;
  readonly client: string;
  /** What the application answers to the n-th request that reaches it. */
  readonly responses: readonly string[];
  readonly expected: Outcome;
}

interface Outcome {
  /** Whole requests as they reach the application. */
  readonly requests: readonly string[];
  /** Whole answers; without the last one when the connection is reset, which is how a client knows that it is not. */
  readonly answers: readonly string[];
  /** How the waypoint ended the client's connection. */
  readonly end: "open" | "fin" | "reset";
  /** Failure code of each exchange in turn, empty for none. */
  readonly codes: readonly string[];
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

async function play(
  vector: Vector,
  client: readonly string[],
  cut: (response: string) => readonly string[],
): Promise<Outcome> {
  const bench = new Bench();
  for (const piece of client) await deliver(bench.client, piece);
  const answered = new Map<FakeChannel, number>();
  for (const response of vector.responses) {
    const asked = bench.services.opened.find(
      ({ channel }) => messagesOf(channel.written).length > (answered.get(channel) ?? 0),
    );
    if (asked === undefined) break;
    answered.set(asked.channel, (answered.get(asked.channel) ?? 0) + 1);
    for (const piece of cut(response)) await deliver(asked.channel, piece);
  }
  const heads = bench.services.records.map((record) => record.method === "HEAD");
  const requests = bench.services.opened.flatMap(({ channel }) => messagesOf(channel.written));
  const answers = messagesOf(bench.client.written, heads);
  return {
    requests: requests.filter((message) => message.whole).map(shown),
    answers: (bench.client.wasReset ? answers.slice(0, -1) : answers).map(shown),
    end: bench.client.wasReset ? "reset" : bench.client.ended ? "fin" : "open",
    codes: bench.services.records.map((record) => record.code),
  };
}

async function deliver(channel: FakeChannel, piece: string): Promise<void> {
  const [, bytes = "", end] = /^([^]*?)(\{FIN\}|\{RST\})?$/.exec(piece) ?? [];
  if (bytes !== "" && !channel.wasReset) channel.receive(bytes);
  await turn();
  if (end === "{FIN}" && !channel.wasReset) channel.receiveEnd();
  if (end === "{RST}" && !channel.wasReset) channel.close(fail("APP_RESET", "test"));
  await turn();
}
