// What is neither answered nor passed on, and what it costs.
import assert from "node:assert/strict";
import { test } from "node:test";
import { fail, type Failure } from "@culvert/shared/failure/failure.ts";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { DnsMetrics } from "@culvert/shared/observe/dns-metrics.ts";
import { Metrics } from "@culvert/shared/observe/metrics.ts";
import { AnswerCache } from "./cache.ts";
import { query, readAnswer } from "./dns-fixtures.ts";
import { state, value } from "./lab-fixtures.ts";
import { Responder, type ResponderOptions } from "./responder.ts";

const CLIENT = "127.0.0.1:40000";

function make(more: Partial<ResponderOptions> = {}): {
  responder: Responder;
  clock: FakeClock;
  metrics: Metrics;
  ownSources: Set<string>;
  told: string[];
} {
  const clock = new FakeClock();
  const metrics = new Metrics({ clock });
  const ownSources = new Set<string>();
  const told: string[] = [];
  const responder = new Responder({
    state: () => state,
    listeners: [],
    isCaptured: false,
    families: () => new Set([4]),
    cache: new AnswerCache(clock),
    ownSources,
    metrics: new DnsMetrics(metrics),
    clock,
    onRefused: ({ code }) => told.push(code),
    onUnanswered: ({ code }) => told.push(code),
    ...more,
  });
  return { responder, clock, metrics, ownSources, told };
}

test("a flood is dropped, and what comes after it is served", () => {
  const { responder, clock, metrics } = make();
  const asked = query("reviews");
  let answered = 0;
  for (let count = 0; count < 10_000; count += 1) {
    if (responder.judge(asked, "udp", CLIENT) !== undefined) answered += 1;
  }
  assert.equal(answered, 2_500);
  assert.equal(value(metrics, "culvert_dns_refused_total"), 7_500);
  clock.advance(100);
  const later = responder.judge(asked, "udp", CLIENT);
  assert.ok(Buffer.isBuffer(later));
  assert.deepEqual(readAnswer(later).addresses, ["10.96.0.1"]);
});

test("our own question that has come back is refused with its reason", () => {
  const { responder, ownSources, told } = make();
  const asked = query("example.com", { udpBytes: 512 });
  assert.ok(!Buffer.isBuffer(responder.judge(asked, "udp", CLIENT)), "passed on");
  ownSources.add(CLIENT);
  const refused = responder.judge(asked, "udp", CLIENT);
  assert.ok(Buffer.isBuffer(refused));
  assert.equal(readAnswer(refused).rcode, 5);
  assert.match(refused.toString("latin1"), /capture rule/);
  assert.deepEqual(told, ["LOOP_DETECTED"]);
});

test("bytes that are no request get no answer, a malformed query the least one", () => {
  const { responder, metrics } = make();
  assert.equal(responder.judge(Buffer.alloc(3), "udp", CLIENT), undefined);
  assert.equal(responder.judge(query("a", { flags: 0x8000 }), "udp", CLIENT), undefined);
  const malformed = responder.judge(query("a").subarray(0, 14), "udp", CLIENT);
  assert.ok(Buffer.isBuffer(malformed) && malformed.length === 12);
  assert.equal(value(metrics, "culvert_dns_refused_total"), 3);
  assert.equal(value(metrics, "istio_dns_requests_total"), 0);
});

test("names that must be asked for are waited for, under every spelling, and once they are known there is no waiting", async () => {
  const asked: string[] = [];
  const waits: ((outcome: Failure | undefined) => void)[] = [];
  let isKnown = false;
  const demand: ResponderOptions["demand"] = (destination) => {
    asked.push(destination.kind === "name" ? destination.host : destination.ip);
    return isKnown ? undefined : new Promise((resolve) => waits.push(resolve));
  };
  const { responder, told } = make({ demand, unasked: new Set(["authority"]) });
  const coming = responder.judge(query("reviews.svc.cluster.local"), "udp", CLIENT);
  assert.ok(coming instanceof Promise);
  assert.deepEqual(asked, ["reviews.svc.cluster.local", "svc.cluster.local", "reviews", "reviews.svc", "svc"]);
  for (const answer of waits.splice(0)) answer(undefined);
  const answered = await coming;
  assert.ok(Buffer.isBuffer(answered));
  assert.deepEqual(readAnswer(answered).addresses, ["10.96.0.1"]);

  const missing = responder.judge(query("elsewhere.example"), "udp", CLIENT);
  assert.ok(missing instanceof Promise);
  for (const answer of waits.splice(0)) answer(fail("CONFIGURATION_UNAVAILABLE", "no answer"));
  const failed = await missing;
  assert.ok(Buffer.isBuffer(failed));
  assert.equal(readAnswer(failed).rcode, 2);
  assert.deepEqual(told, ["CONFIGURATION_UNAVAILABLE"]);

  isKnown = true;
  assert.ok(Buffer.isBuffer(responder.judge(query("reviews"), "udp", CLIENT)));
  asked.length = 0;
  isKnown = false;
  assert.ok(!(responder.judge(query("authority.default.svc.cluster.local"), "udp", CLIENT) instanceof Promise));
  assert.ok(!(responder.judge(query("reviews", { type: 16 }), "udp", CLIENT) instanceof Promise));
  assert.deepEqual(asked, []);
});
