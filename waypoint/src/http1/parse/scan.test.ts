import assert from "node:assert/strict";
import { test } from "node:test";
import { CONTENT_LENGTH, DISGUISED, HOST_FIELD, knownField, OTHER, X_FORWARDED_CLIENT_CERT } from "./field-names.ts";
import { BAD, COMPLETE, HeadScanner, INCOMPLETE, NAME_END, NAME_ID, STRIDE, VALUE_END, VALUE_START } from "./scan.ts";

const BOUNDS = { headBytes: 1000, fieldLines: 5, nameBytes: 20, valueBytes: 100 };

function fieldsOf(scanner: HeadScanner, bytes: Buffer): string[] {
  return Array.from({ length: scanner.count }, (_, i) => {
    const part = (offset: number): number => scanner.fields[i * STRIDE + offset] ?? -1;
    const name = bytes.toString("latin1", part(0), part(NAME_END));
    return `${name}=${bytes.toString("latin1", part(VALUE_START), part(VALUE_END))}#${part(NAME_ID)}`;
  });
}

/** The status of a request head, or what is wrong with it. */
function scan(text: string): string {
  const scanner = new HeadScanner(BOUNDS);
  const bytes = Buffer.from(text);
  const status = scanner.scanRequest(bytes, 0, bytes.length);
  return status === BAD ? `${scanner.problem}${scanner.tooLarge ? " (large)" : ""}` : String(status);
}

function known(name: string): number {
  return knownField(Buffer.from(name, "latin1"), 0, name.length);
}

test("leaves the offsets of a head, wherever it begins", () => {
  const scanner = new HeadScanner(BOUNDS);
  const bytes = Buffer.from("xxGET /a HTTP/1.0\r\nHost: b\r\nX-C:\t d e \r\n\r\nrest");
  assert.equal(scanner.scanRequest(bytes, 2, bytes.length), COMPLETE);
  assert.equal(bytes.toString("latin1", 2, scanner.methodEnd), "GET");
  assert.equal(bytes.toString("latin1", scanner.targetStart, scanner.targetEnd), "/a");
  assert.equal(scanner.minor, 0);
  assert.deepEqual(fieldsOf(scanner, bytes), [`Host=b#${HOST_FIELD}`, `X-C=d e#${OTHER}`]);
  assert.equal(bytes.toString("latin1", scanner.headEnd), "rest");
  assert.equal(bytes.toString("latin1", scanner.fieldsEnd, scanner.headEnd), "\r\n");
});

test("goes on where it stopped, and fills the table anew", () => {
  const scanner = new HeadScanner(BOUNDS);
  const bytes = Buffer.from("HTTP/1.1 204 No\r\nA: 1\r\nContent-Length: 5\r\n\r\n");
  let lineStart = 0;
  let lineCount = 0;
  for (let end = 1; end < bytes.length; end += 1) {
    assert.equal(scanner.scanResponse(bytes, 0, end, lineStart, lineCount), INCOMPLETE, String(end));
    ({ lineStart, lineCount } = scanner);
    // Another connection's head in between.
    scanner.scanRequest(Buffer.from("GET / HTTP/1.1\r\nzzz: 1\r\n\r\n"), 0, 26);
  }
  assert.equal(lineStart, bytes.length - 2);
  assert.equal(scanner.scanResponse(bytes, 0, bytes.length, lineStart, lineCount), COMPLETE);
  assert.equal(scanner.status, 204);
  assert.deepEqual(fieldsOf(scanner, bytes), [`A=1#${OTHER}`, `Content-Length=5#${CONTENT_LENGTH}`]);
});

test("bounds are kept exactly, and before the head is whole", () => {
  const line = "GET / HTTP/1.1\r\n";
  assert.equal(scan(`${line}${"n".repeat(20)}: 1\r\n\r\n`), String(COMPLETE));
  assert.equal(scan(`${line}${"n".repeat(21)}`), "field name over its limit (large)");
  assert.equal(scan(`${line}n: ${"v".repeat(100)}\r\n\r\n`), String(COMPLETE));
  assert.equal(scan(`${line}n: ${"v".repeat(101)}`), "field value over its limit (large)");
  assert.equal(scan(`${line}${"n: v\r\n".repeat(5)}\r\n`), String(COMPLETE));
  assert.equal(scan(`${line}${"n: v\r\n".repeat(5)}n`), "more field lines than allowed (large)");
  assert.equal(scan(`GET /${"x".repeat(996)}`), "head over its limit (large)");
  assert.equal(scan(`GET /${"x".repeat(994)}`), String(INCOMPLETE));
});

test("names are known in any case, and only letters may differ", () => {
  assert.equal(known("CONTENT-length"), CONTENT_LENGTH);
  assert.equal(known("content_length"), DISGUISED);
  assert.equal(known("content\rlength"), OTHER);
  assert.equal(known("content.length"), OTHER);
  assert.equal(known("X-Forwarded-Client-Cert"), X_FORWARDED_CLIENT_CERT);
  assert.equal(known("X_Forwarded-Client_Cert"), DISGUISED);
  assert.equal(known("X-Forwarded-Client-Cerd"), OTHER);
  assert.equal(known("h@st"), OTHER);
});
