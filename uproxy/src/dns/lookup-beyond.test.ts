import assert from "node:assert/strict";
import { test } from "node:test";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { systemClock } from "@culvert/shared/net/clock.ts";
import { DnsMetrics } from "@culvert/shared/observe/dns-metrics.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { nameBytes, replyTo } from "./dns-fixtures.ts";
import { lookupBeyond } from "./lookup-beyond.ts";
import { TYPE_A } from "./message.ts";

const ALIAS = 5;

/** What a lookup finds when the resolvers answer each question as `answer` says. */
function look(host: string, answer: (asked: Buffer, type: number) => Buffer | Failure): Promise<readonly string[]> {
  const metrics = new DnsMetrics(new Metrics({ clock: systemClock }));
  const ask = (asked: Buffer, query: { question: { type: number } | undefined }): Promise<Buffer | Failure> =>
    Promise.resolve(answer(asked, query.question?.type ?? 0));
  return lookupBeyond(host, { ask }, metrics);
}

test("both families, through aliases", async () => {
  const data = { 1: Buffer.from([192, 0, 2, 1]), 28: Buffer.from("20010db8000000000000000000000001", "hex") };
  const found = await look("api.example", (asked, type) =>
    replyTo(asked, {
      answers: [
        { type: ALIAS, ttl: 9, data: nameBytes("other.example") },
        { name: nameBytes("other.example"), type, ttl: 9, data: type === TYPE_A ? data[1] : data[28] },
      ],
    }),
  );
  assert.deepEqual(found, ["192.0.2.1", "2001:db8::1"]);
});

test("one family that fails leaves the other", async () => {
  const data = Buffer.from([192, 0, 2, 1]);
  const found = await look("api.example", (asked, type) =>
    type === TYPE_A ? replyTo(asked, { answers: [{ type, ttl: 9, data }] }) : fail("DNS_UPSTREAM_FAILED", "silence"),
  );
  assert.deepEqual(found, ["192.0.2.1"]);
});

for (const [what, host, answer, error] of [
  ["no resolver", "api.example", () => fail("DNS_UPSTREAM_FAILED", "no answer in 1500 ms"), /no answer in 1500 ms/],
  ["no such name", "api.example", (asked: Buffer) => replyTo(asked, { flags: 0x8183 }), /api\.example has no address/],
  ["a refusal", "api.example", (asked: Buffer) => replyTo(asked, { flags: 0x8185 }), /with code 5/],
  ["an answer cut short", "api.example", (asked: Buffer) => replyTo(asked, { flags: 0x8380 }), /does not fit/],
  ["no name", "a..b", (asked: Buffer) => replyTo(asked), /a\.\.b is no DNS name/],
] as const) {
  test(`${what} is told`, async () => {
    await assert.rejects(look(host, answer), error);
  });
}
