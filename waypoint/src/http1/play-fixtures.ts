// For tests: plays one connection of a client and the applications behind it, and says what came of it in comparable form.
import { fail } from "@culvert/shared/failure/failure.ts";
import type { FakeChannel } from "../channel-fixtures.ts";
import { Bench, turn } from "../exchange-fixtures.ts";
import { messagesOf, shown } from "./message-fixtures.ts";

/** What both sides say. Text is latin1; `{FIN}` or `{RST}` at its end says how a side ends. */
export interface Script {
  readonly client: string;
  /** What the application answers to the n-th request that reaches it. */
  readonly responses: readonly string[];
}

/** What came of a script. */
export interface Outcome {
  /** Whole requests as they reach the application. */
  readonly requests: readonly string[];
  /** Whole answers; without the last one when the connection is reset, which is how a client knows that it is not. */
  readonly answers: readonly string[];
  /** How the waypoint ended the client's connection. */
  readonly end: "open" | "fin" | "reset";
  /** Failure code of each exchange in turn, empty for none. */
  readonly codes: readonly string[];
}

/** Plays `script`, the client's text in the pieces of `client` and each response in those that `cut` makes of it. */
export async function play(
  script: Script,
  client: readonly string[],
  cut: (response: string) => readonly string[],
): Promise<Outcome> {
  const bench = new Bench();
  for (const piece of client) await deliver(bench.client, piece);
  const answered = new Map<FakeChannel, number>();
  for (const response of script.responses) {
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

/** Delivers bytes and end of one piece. */
async function deliver(channel: FakeChannel, piece: string): Promise<void> {
  const [, bytes = "", end] = /^([^]*?)(\{FIN\}|\{RST\})?$/.exec(piece) ?? [];
  if (bytes !== "" && !channel.wasReset) channel.receive(bytes);
  await turn();
  if (end === "{FIN}" && !channel.wasReset) channel.receiveEnd();
  if (end === "{RST}" && !channel.wasReset) channel.close(fail("APP_RESET", "test"));
  await turn();
}
