// What is read of requests and replies, byte by byte where it matters who may answer whom.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { query, replyTo, soaData } from "./dns-fixtures.ts";
import { isReplyTo, questionFor, readAddresses, readLifetimes, readQuery, TYPE_A, type Query } from "./message.ts";

function read(bytes: Buffer): Query {
  const found = readQuery(bytes);
  assert.ok(typeof found === "object", JSON.stringify(found));
  return found;
}

describe("requests", () => {
  test("a question, in any case", () => {
    const found = read(query("ReViews.default", { id: 7, type: 28 }));
    assert.deepEqual(found.question, { name: "reviews.default", type: 28, class: 1, end: 33 });
    assert.equal(found.id, 7);
    assert.equal(found.isPlain, true);
    assert.equal(found.edns, undefined);
  });

  test("EDNS", () => {
    const found = read(query("a", { udpBytes: 4096, dnssec: true, options: Buffer.from([0, 10, 0, 0]) }));
    assert.deepEqual(found.edns, { udpBytes: 4096, version: 0, dnssec: true, hasOptions: true });
    assert.equal(found.isPlain, true);
  });

  test("the root, and names that no host has", () => {
    assert.equal(read(query("")).question?.name, "");
    assert.equal(read(query("_sip._tcp.a")).question?.name, "_sip._tcp.a");
    assert.equal(read(query("a b")).question?.name, undefined);
    const dotted = Buffer.concat([query("").subarray(0, 12), Buffer.from([3, 0x61, 0x2e, 0x62, 0, 0, 1, 0, 1])]);
    assert.equal(read(dotted).question?.name, undefined, "a dot within a label is no end of it");
  });

  const notPlain: [string, Buffer][] = [
    ["an update", query("zone", { flags: 0x2800, type: 6 })],
    ["a notification", query("zone", { flags: 0x2000 })],
    ["an update whose zone cannot be read", query("", { flags: 0x2800, tail: Buffer.alloc(0) }).subarray(0, 12)],
    ["no question", query("a", { counts: [0, 0, 0, 0] })],
    ["two questions", query("a", { counts: [2, 0, 0, 0] })],
    ["an answer beside the question", query("a", { counts: [1, 1, 0, 0] })],
    ["a signature", query("a", { counts: [1, 0, 0, 1], tail: Buffer.from([0, 0, 250, 0, 255, 0, 0, 0, 0, 0, 0]) })],
    ["EDNS and something else", query("a", { udpBytes: 512, counts: [1, 0, 0, 2], tail: Buffer.alloc(11) })],
    ["bytes after the end", query("a", { tail: Buffer.from([1]) })],
  ];
  for (const [name, bytes] of notPlain) {
    test(`${name}: nothing that we answer ourselves`, () => assert.equal(read(bytes).isPlain, false));
  }

  const long = Array.from({ length: 4 }, () => "a".repeat(63)).join(".");
  const malformed: [string, Buffer][] = [
    ["a name without end", query("a").subarray(0, 14)],
    ["a question without type", query("a").subarray(0, 16)],
    ["a pointer", Buffer.concat([query("a").subarray(0, 12), Buffer.from([0xc0, 12, 0, 1, 0, 1])])],
    ["a label of 64 bytes", Buffer.concat([query("a").subarray(0, 12), Buffer.from([64]), Buffer.alloc(70)])],
    ["a name of 257 bytes", query(long)],
    ["EDNS cut short", query("a", { udpBytes: 512 }).subarray(0, -1)],
    ["EDNS options longer than the message", query("a", { udpBytes: 512, options: Buffer.alloc(9) }).subarray(0, -1)],
  ];
  for (const [name, bytes] of malformed) test(`${name}: malformed`, () => assert.equal(readQuery(bytes), "malformed"));

  test("the longest name", () => {
    assert.equal(read(query(`${"a".repeat(63)}.${"a".repeat(63)}.${"a".repeat(63)}.${"a".repeat(61)}`)).isPlain, true);
    assert.equal(
      readQuery(query(`${"a".repeat(63)}.${"a".repeat(63)}.${"a".repeat(63)}.${"a".repeat(62)}`)),
      "malformed",
    );
  });

  for (const [name, bytes] of [
    ["nothing", Buffer.alloc(0)],
    ["half a header", Buffer.alloc(11)],
    ["an answer", query("a", { flags: 0x8000 })],
  ] as const) {
    test(`${name}: deserves no answer`, () => assert.equal(readQuery(bytes), undefined));
  }
});

function changed(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at] = value;
  return copy;
}

/** A reply of a header alone. */
function head(asked: Buffer, flags: number): Buffer {
  return Buffer.concat([replyTo(asked, { flags }).subarray(0, 4), Buffer.alloc(8)]);
}

describe("replies", () => {
  const asked = query("Reviews", { id: 1, type: 65 });
  const isReply = (reply: Buffer, request = asked): boolean => isReplyTo(reply, 1, request, read(request));
  test("the same id, operation and question, in any case", () => {
    assert.ok(isReply(replyTo(asked)));
    assert.ok(isReply(changed(replyTo(asked), 13, "r".charCodeAt(0))));
  });

  const wrong: [string, Buffer][] = [
    ["another id", changed(replyTo(asked), 1, 2)],
    ["a query", asked],
    ["another operation", replyTo(asked, { flags: 0xa800 })],
    ["another name", changed(replyTo(asked), 13, "X".charCodeAt(0))],
    ["another type, though its byte is a letter's", changed(replyTo(asked), 22, 97)],
    ["no question though all went well", replyTo(asked).subarray(0, 12).fill(0, 4, 6)],
    ["cut within the question", replyTo(asked).subarray(0, 15)],
    ["half a header", replyTo(asked).subarray(0, 11)],
  ];
  for (const [name, bytes] of wrong) test(`${name}: no answer to it`, () => assert.ok(!isReply(bytes)));

  test("an error, or the answer to an update, may leave the question out", () => {
    assert.ok(isReply(head(asked, 0x8001)));
    const update = query("zone", { id: 1, flags: 0x2800, type: 6 });
    assert.ok(isReply(head(asked, 0xa800), update));
  });
});

const unanswered = query("a");
const soa = (ttl: number, minimum: number): Buffer =>
  replyTo(unanswered, { flags: 0x8183, authorities: [{ type: 6, ttl, data: soaData(minimum) }] });

function record(ttl: number, type = 1): { type: number; ttl: number; data: Buffer } {
  return { type, ttl, data: Buffer.alloc(4) };
}

describe("lifetimes", () => {
  const asked = unanswered;

  test("the least of all records, OPT aside", () => {
    const opt = { ...record(0, 41), name: Buffer.from([0]) };
    const reply = replyTo(asked, {
      answers: [record(60), record(20)],
      authorities: [record(30, 2)],
      additional: [opt],
    });
    const found = readLifetimes(reply);
    assert.equal(found?.seconds, 20);
    assert.equal(found?.offsets.length, 3);
    for (const offset of found?.offsets ?? []) assert.ok([60, 20, 30].includes(reply.readUInt32BE(offset)));
  });

  test("of a name that is not there: the SOA's", () => {
    assert.equal(readLifetimes(soa(900, 60))?.seconds, 60);
    assert.equal(readLifetimes(soa(30, 60))?.seconds, 30);
  });

  test("nothing that could be kept", () => {
    assert.equal(readLifetimes(replyTo(asked)), undefined, "says no lifetime");
    assert.equal(readLifetimes(replyTo(asked, { answers: [record(0xffff_ffff)] }))?.seconds, 0);
    assert.equal(readLifetimes(replyTo(asked, { answers: [record(1)] }).subarray(0, -1)), undefined, "cut short");
    assert.equal(readLifetimes(Buffer.concat([replyTo(asked, { answers: [record(1)] }), Buffer.alloc(1)])), undefined);
    const loop = { ...record(1), name: Buffer.from([0x80, 1]) };
    assert.equal(readLifetimes(replyTo(asked, { answers: [loop] })), undefined, "a label of no kind");
  });
});

describe("questions of our own", () => {
  test("are like those of others", () => {
    for (const host of ["api.example", "api.example."]) {
      assert.deepEqual(questionFor(host, TYPE_A), query("api.example", { id: 0 }));
    }
    for (const host of ["", "a..b", "a b", `${"a".repeat(64)}.b`, Array.from({ length: 130 }, () => "a").join(".")]) {
      assert.equal(questionFor(host, TYPE_A), undefined, host);
    }
  });

  test("the addresses of a reply, and of every part of one", () => {
    const asked = query("api.example");
    const answers = [1, 2].map((last) => ({ type: TYPE_A, ttl: 9, data: Buffer.from([192, 0, 2, last]) }));
    const reply = replyTo(asked, { answers: [...answers, { type: TYPE_A, ttl: 9, data: Buffer.from([1, 2, 3]) }] });
    assert.deepEqual(readAddresses(reply, TYPE_A), ["192.0.2.1", "192.0.2.2"]);
    assert.deepEqual(readAddresses(reply, 28), []);
    for (let length = 0; length < reply.length; length += 1) {
      const found = readAddresses(reply.subarray(0, length), TYPE_A);
      assert.ok(found.length <= 2, `${length} bytes`);
    }
  });
});
