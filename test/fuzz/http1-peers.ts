// Root. `node http1-peers.ts [RUNS] [SEED]`: gives the same bytes to our parser of HTTP/1.1 and to the one that most applications on
// Node.js read with (llhttp). What both take for a message must be the same message with the same end: where two parsers differ,
// requests are smuggled. Chunked bodies are held against a slow reader as well, and cut everywhere.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";
import * as fc from "fast-check";
import { CHUNKED } from "@culvert/waypoint/http/body-kind.ts";
import { DEFAULT_HTTP_LIMITS } from "@culvert/waypoint/http/limits.ts";
import { BodyDecoder, BROKEN, DATA, DONE, MORE } from "@culvert/waypoint/http1/parse/body.ts";
import { RequestHeadReader } from "@culvert/waypoint/http1/parse/request-head.ts";
import { ResponseHeadReader } from "@culvert/waypoint/http1/parse/response-head.ts";
import { COMPLETE, HeadScanner, NAME_END, STRIDE, VALUE_END, VALUE_START } from "@culvert/waypoint/http1/parse/scan.ts";
import { mutate, mutation } from "./http1-mutation.ts";

/** A message as a parser understands it. */
interface Message {
  /** Method and target, or the status. */
  readonly start: string;
  readonly fields: readonly string[];
  readonly body: string;
}

type Kind = "request" | "response";

/** What Node.js has of llhttp, as its own HTTP server uses it. */
interface Llhttp {
  initialize(type: number, resource: object): void;
  execute(bytes: Buffer): number | Error;
  finish(): void | Error;
  [callback: number]: unknown;
}

interface LlhttpModule {
  readonly HTTPParser: {
    new (): Llhttp;
    readonly REQUEST: number;
    readonly RESPONSE: number;
    readonly kOnHeaders: number;
    readonly kOnHeadersComplete: number;
    readonly kOnBody: number;
    readonly kOnMessageComplete: number;
  };
  readonly methods: readonly string[];
}

const { HTTPParser, methods } = createRequire(import.meta.url)("_http_common") as LlhttpModule;

const corpus = JSON.parse(readFileSync(new URL("corpus/http1.json", import.meta.url), "utf8")) as {
  readonly requests: readonly string[];
  readonly responses: readonly string[];
  readonly chunked: readonly string[];
};

const { headBytes, fieldLines, nameBytes, valueBytes } = DEFAULT_HTTP_LIMITS;
const scanner = new HeadScanner({ headBytes, fieldLines, nameBytes, valueBytes });
const requestHead = new RequestHeadReader(scanner, new Set(["websocket"]));
const responseHead = new ResponseHeadReader(scanner);
const decoder = new BodyDecoder(DEFAULT_HTTP_LIMITS);

/** The whole messages at the start of `text` as we read them, up to the first that we refuse. */
function ours(text: string, kind: Kind): Message[] {
  const bytes = Buffer.from(text, "latin1");
  const messages: Message[] = [];
  let position = kind === "request" && text.startsWith("\r\n") ? 2 : 0;
  while (position < bytes.length) {
    const scanned =
      kind === "request"
        ? scanner.scanRequest(bytes, position, bytes.length)
        : scanner.scanResponse(bytes, position, bytes.length);
    if (scanned !== COMPLETE) break;
    const head = kind === "request" ? requestHead : responseHead;
    const failure = kind === "request" ? requestHead.read(bytes, position) : responseHead.read(bytes, position, false);
    if (failure !== undefined) break;
    const start =
      kind === "request"
        ? `${requestHead.method} ${bytes.toString("latin1", scanner.targetStart, scanner.targetEnd)}`
        : String(scanner.status);
    const fields = fieldsOf(bytes);
    decoder.begin(head.body, head.contentLength);
    const { status, body, end } = readBody(bytes, scanner.headEnd);
    if (status !== DONE && !(status === MORE && decoder.endsWithConnection)) break;
    messages.push({ start, fields, body });
    position = end;
  }
  return messages;
}

function fieldsOf(bytes: Buffer): string[] {
  return Array.from({ length: scanner.count }, (_, i) => {
    const at = (part: number): number => scanner.fields[i * STRIDE + part] as number;
    return `${bytes.toString("latin1", at(0), at(NAME_END))}: ${bytes.toString("latin1", at(VALUE_START), at(VALUE_END))}`;
  });
}

/** Reads on with the body that `decoder` has begun. */
function readBody(bytes: Buffer, from: number): { status: number; body: string; end: number } {
  let body = "";
  for (let position = from; ;) {
    const status = decoder.next(bytes, position, bytes.length);
    position = decoder.position;
    if (status !== DATA) return { status, body, end: position };
    body += bytes.toString("latin1", decoder.dataStart, decoder.dataEnd);
  }
}

/** The same as llhttp reads them, strictly. */
function theirs(text: string, kind: Kind): Message[] {
  const messages: Message[] = [];
  let start = "";
  let fields: string[] = [];
  let body = "";
  const parser = new HTTPParser();
  parser.initialize(kind === "request" ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {});
  const addFields = (list: readonly string[]): void => {
    for (let i = 0; i + 1 < list.length; i += 2) fields.push(`${list[i]}: ${list[i + 1]}`);
  };
  let url = "";
  parser[HTTPParser.kOnHeaders] = (list: readonly string[], part: string): void => {
    addFields(list);
    url += part;
  };
  parser[HTTPParser.kOnHeadersComplete] = (
    _major: number,
    _minor: number,
    list: readonly string[] | undefined,
    method: number | undefined,
    target: string | undefined,
    status: number | undefined,
  ): number => {
    addFields(list ?? []);
    start = kind === "request" ? `${methods[method ?? 0]} ${target ?? url}` : String(status);
    body = "";
    return 0;
  };
  parser[HTTPParser.kOnBody] = (chunk: Buffer): void => {
    body += chunk.toString("latin1");
  };
  parser[HTTPParser.kOnMessageComplete] = (): void => {
    messages.push({ start, fields, body });
    fields = [];
    url = "";
  };
  const result = parser.execute(Buffer.from(text, "latin1"));
  if (typeof result === "number" && result === text.length && kind === "response") parser.finish();
  return messages;
}

/** What both take for a message is the same message. */
function checkPeers(text: string, kind: Kind): void {
  const our = ours(text, kind);
  const their = theirs(text, kind);
  for (const [index, message] of our.entries()) {
    const other = their[index];
    if (other === undefined) return;
    const told = JSON.stringify(text);
    assert.equal(other.start, message.start, told);
    assert.equal(other.body, message.body, told);
    // Behind a chunked body llhttp adds the trailers to the fields.
    assert.deepEqual(other.fields.slice(0, message.fields.length), message.fields, told);
  }
}

/** A chunked body read slowly: its bytes and where it ends; `undefined` when it is broken or not whole. */
function slowChunked(text: string): { body: string; end: number } | undefined {
  let body = "";
  let at = 0;
  for (;;) {
    const line = /^([0-9A-Fa-f]{1,12})(;[\t -~\x80-\xff]*)?\r\n/.exec(text.slice(at));
    if (line === null) return undefined;
    at += line[0].length;
    const size = Number.parseInt(line[1] ?? "", 16);
    if (size === 0) break;
    if (text.slice(at + size, at + size + 2) !== "\r\n") return undefined;
    body += text.slice(at, at + size);
    at += size + 2;
  }
  const trailers = /^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)*\r\n/.exec(text.slice(at));
  return trailers === null ? undefined : { body, end: at + trailers[0].length };
}

/** The decoder says what the slow reader says, in one piece and in any two. */
function checkChunked(text: string): void {
  const expected = slowChunked(text);
  const bytes = Buffer.from(text, "latin1");
  for (let cut = 0; cut < bytes.length; cut += 1) {
    const read = decodeChunked([bytes.subarray(0, cut), bytes.subarray(cut)]);
    assert.deepEqual(read, expected, `${JSON.stringify(text)} cut at ${cut}`);
  }
}

function decodeChunked(pieces: readonly Buffer[]): { body: string; end: number } | undefined {
  decoder.begin(CHUNKED, 0);
  let body = "";
  let before = 0;
  for (const piece of pieces) {
    const { status, ...read } = readBody(piece, 0);
    body += read.body;
    if (status === DONE) return { body, end: before + read.end };
    if (status === BROKEN) return undefined;
    before += piece.length;
  }
  return undefined;
}

const changes = fc.array(mutation, { maxLength: 3 });

function texts(seeds: readonly string[], most: number): fc.Arbitrary<string> {
  return fc
    .tuple(fc.array(fc.constantFrom(...seeds), { minLength: 1, maxLength: most }), changes)
    .map(([parts, mutations]) => mutate(parts.join(""), mutations));
}

/** Looks at the corpus, then at `runs` texts of each kind; throws with the smallest one that fails. */
export function fuzzHttp1Peers(runs: number, seed?: number): void {
  const options = { numRuns: runs, ...(seed === undefined ? {} : { seed }) };
  for (const text of corpus.requests) checkPeers(text, "request");
  for (const text of corpus.responses) checkPeers(text, "response");
  for (const text of corpus.chunked) checkChunked(text);
  const { requests, responses, chunked } = corpus;
  fc.assert(
    fc.property(texts(requests, 3), (text) => checkPeers(text, "request")),
    options,
  );
  fc.assert(
    fc.property(texts(responses, 3), (text) => checkPeers(text, "response")),
    options,
  );
  fc.assert(
    fc.property(texts(chunked, 1), (text) => checkChunked(text)),
    options,
  );
}

if (import.meta.main) {
  const [runs = "100000", seed] = process.argv.slice(2);
  fuzzHttp1Peers(Number(runs), seed === undefined ? undefined : Number(seed));
  process.stdout.write(`${runs} texts of each kind, no difference\n`);
}
