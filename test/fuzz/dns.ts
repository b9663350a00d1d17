// Root. `node dns.ts [RUNS] [SEED]`: feeds the reader of DNS messages, the answers, the cache and the framing of TCP with queries
// and replies that were mutated, and with plain bytes.
import assert from "node:assert/strict";
import process from "node:process";
import * as fc from "fast-check";
import { FakeClock } from "@culvert/shared/net/fake-clock.ts";
import { addressAnswer, errorAnswer, malformedAnswer } from "@culvert/uproxy/dns/answer.ts";
import { AnswerCache, CACHE_LIMITS } from "@culvert/uproxy/dns/cache.ts";
import { nameBytes, query, replyTo, soaData } from "@culvert/uproxy/dns/dns-fixtures.ts";
import { frame, FrameReader } from "@culvert/uproxy/dns/frames.ts";
import { isReplyTo, readAddresses, readLifetimes, readQuery, TYPE_A, type Query } from "@culvert/uproxy/dns/message.ts";
import { ip } from "../support/fixtures.ts";

const QUERIES = [
  query("reviews"),
  query("reviews.default.svc.cluster.local", { type: 28, udpBytes: 1232, dnssec: true }),
  query("example.com", { type: 255, udpBytes: 4096, options: Buffer.from([0, 10, 0, 2, 1, 2]) }),
  query("default.svc.cluster.local", { flags: 0x2800, type: 6, counts: [1, 0, 1, 0], tail: nameBytes("a") }),
  query("", { counts: [0, 0, 0, 0] }),
];
const RECORD = { type: 1, ttl: 60, data: Buffer.from([192, 0, 2, 1]) };
const REPLIES = [
  replyTo(query("reviews"), { answers: [RECORD, { ...RECORD, type: 5, data: nameBytes("other") }] }),
  replyTo(query("reviews"), { flags: 0x8183, authorities: [{ type: 6, ttl: 60, data: soaData(5) }] }),
  replyTo(query("reviews"), { additional: [{ name: Buffer.from([0]), type: 41, ttl: 0, data: Buffer.alloc(4) }] }),
];
const MANY = Array.from({ length: 200 }, (_, index) => [ip(`10.0.0.${index}`), ip(`2001:db8::${index + 1}`)]).flat();

/** Bytes that are set, dropped or put in between; mostly such that lengths, counts and pointers become wrong. */
const mutation = fc.record({
  at: fc.nat(400),
  drop: fc.nat(3),
  insert: fc.uint8Array({ maxLength: 3 }),
  set: fc.option(fc.oneof(fc.constantFrom(0, 1, 12, 41, 63, 64, 0x80, 0xc0, 0xff), fc.nat(255)), { nil: undefined }),
});

function mutated(valid: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const changed = fc
    .tuple(fc.constantFrom(...valid), fc.array(mutation, { maxLength: 4 }))
    .map(([start, mutations]) => {
      let bytes = start;
      for (const { at, drop, insert, set } of mutations) {
        const place = bytes.length === 0 ? 0 : at % bytes.length;
        bytes = Buffer.concat([bytes.subarray(0, place), insert, bytes.subarray(place + drop)]);
        if (set !== undefined && place < bytes.length) bytes[place] = set;
      }
      return bytes;
    });
  return fc.oneof(
    { weight: 9, arbitrary: changed },
    fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
  );
}

/** Walks an answer of ours from end to end. */
function wellFormed(reply: Buffer, asked: Buffer): void {
  assert.ok(reply.length >= 12);
  assert.equal(reply.readUInt16BE(0), asked.readUInt16BE(0), "the client's id");
  assert.ok((reply.readUInt16BE(2) & 0x8000) !== 0);
  let at = 12;
  const name = (): void => {
    for (;;) {
      const length = reply.readUInt8(at);
      if (length >= 0xc0) {
        assert.equal(reply.readUInt16BE(at), 0xc00c);
        at += 2;
        return;
      }
      at += 1 + length;
      if (length === 0) return;
    }
  };
  for (let count = reply.readUInt16BE(4); count > 0; count -= 1) {
    name();
    at += 4;
  }
  for (let count = reply.readUInt16BE(6) + reply.readUInt16BE(8) + reply.readUInt16BE(10); count > 0; count -= 1) {
    name();
    at += 10 + reply.readUInt16BE(at + 8);
  }
  assert.equal(at, reply.length);
}

function answers(asked: Buffer, read: Query): void {
  const reason = { code: 22, text: "why" };
  wellFormed(errorAnswer(asked, read, 2, reason), asked);
  if (!read.isPlain) return;
  const byUdp = addressAnswer(asked, read, MANY, "udp");
  wellFormed(byUdp, asked);
  assert.ok(byUdp.length <= Math.max(512, Math.min(1232, read.edns?.udpBytes ?? 0)), `${byUdp.length} bytes`);
  wellFormed(addressAnswer(asked, read, MANY, "tcp"), asked);
}

/** Runs it. */
export function fuzzDns(runs: number, seed?: number): void {
  const clock = new FakeClock();
  const cache = new AnswerCache(clock, { ...CACHE_LIMITS, entries: 50, bytes: 20_000 });
  const options = seed === undefined ? { numRuns: runs } : { numRuns: runs, seed };
  fc.assert(
    fc.property(mutated(QUERIES), mutated(REPLIES), fc.array(fc.nat(700), { maxLength: 8 }), (asked, reply, cuts) => {
      const before = Buffer.from(asked);
      const read = readQuery(asked);
      if (read === "malformed") wellFormed(malformedAnswer(asked), asked);
      if (typeof read === "object") {
        answers(asked, read);
        isReplyTo(reply, read.id, asked, read);
        // The forwarder keeps replies that belong to their query; the cache must bear all others too.
        if (reply.length >= 12) cache.keep(asked, read, reply);
        clock.advance(700);
        const kept = cache.get(asked, read, true);
        assert.ok(kept === undefined || kept.readUInt16BE(0) === read.id);
        assert.ok(cache.size <= 50 && cache.bytes <= 20_000);
      }
      for (const address of readAddresses(reply, TYPE_A)) assert.match(address, /^\d+(\.\d+){3}$/);
      const lifetimes = reply.length >= 12 ? readLifetimes(reply) : undefined;
      for (const offset of lifetimes?.offsets ?? []) assert.ok(offset >= 12 && offset + 4 <= reply.length);
      assert.deepEqual(asked, before, "what passes is not written to");
      framed([asked, reply], cuts);
    }),
    options,
  );
}

function framed(messages: readonly Buffer[], cuts: readonly number[]): void {
  const stream = Buffer.concat(messages.map(frame));
  const reader = new FrameReader();
  const found: Buffer[] = [];
  const edges = [...cuts.map((cut) => Math.min(cut, stream.length)), stream.length].toSorted((a, b) => a - b);
  let start = 0;
  for (const end of edges) {
    reader.push(stream.subarray(start, end));
    start = end;
    for (let message = reader.next(); message !== undefined; message = reader.next()) found.push(message);
  }
  assert.deepEqual(found, messages);
}

if (import.meta.main)
  fuzzDns(Number(process.argv[2] ?? 100_000), process.argv[3] === undefined ? undefined : Number(process.argv[3]));
