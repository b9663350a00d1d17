// Hostile, rows M1 and M4 to M7: requests that two parsers would cut in two ways, fields that are meant to take away or to forge what the
// waypoint says, and applications whose answers are more or less than they say. It is one table of attacks against one running mesh.
import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { field, fields } from "../support/http-message.ts";
import { request, verdictOf, type HttpWire, type WireAnswer } from "../support/http-wire.ts";
import { spiffeId } from "../support/identities.ts";
import { startShop, type Shop } from "../support/shop.ts";
import { until } from "../support/until.ts";
import { seenValues, type Script, type Seen } from "../support/wire-app.ts";

/** What is smuggled behind a request whose end is in doubt. */
const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n";

/** Heads that must not be taken for a request at all: nothing of them reaches an application. */
const HEADS: readonly (readonly [what: string, lines: string])[] = [
  ["Content-Length and Transfer-Encoding", "Content-Length: 4\r\nTransfer-Encoding: chunked"],
  ["Transfer-Encoding and Content-Length", "Transfer-Encoding: chunked\r\nContent-Length: 4"],
  ["two Transfer-Encodings", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"],
  ["chunked and another", "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow"],
  ["chunked before another coding", "Transfer-Encoding: chunked, gzip"],
  ["another coding before chunked", "Transfer-Encoding: gzip, chunked"],
  ["identity", "Transfer-Encoding: identity"],
  ["something like chunked", "Transfer-Encoding: xchunked"],
  ["chunked in quotes", 'Transfer-Encoding: "chunked"'],
  ["chunked with a parameter", "Transfer-Encoding: chunked;q=1"],
  ["a vertical tab before chunked", "Transfer-Encoding: \x0bchunked"],
  ["an empty Transfer-Encoding", "Transfer-Encoding:"],
  ["a space before the colon", "Transfer-Encoding : chunked"],
  ["a tab before the colon", "Content-Length\t: 4"],
  ["a folded line", "Transfer-Encoding:\r\n chunked"],
  ["a folded line behind another field", "X-A: b\r\n\tTransfer-Encoding: chunked"],
  ["two equal lengths", "Content-Length: 4\r\nContent-Length: 4"],
  ["two lengths", "Content-Length: 4\r\nContent-Length: 0"],
  ["a list of lengths", "Content-Length: 4, 4"],
  ["a signed length", "Content-Length: +4"],
  ["a negative length", "Content-Length: -4"],
  ["a length in hexadecimal", "Content-Length: 0x4"],
  ["a length with leading zeros", "Content-Length: 004"],
  ["a length with an exponent", "Content-Length: 4e0"],
  ["an empty length", "Content-Length:"],
  ["a length beyond counting", "Content-Length: 99999999999999999999"],
  ["a length with a space inside", "Content-Length: 4 4"],
  ["no colon", "Content-Length 4"],
  ["an empty name", ": 4"],
  ["a name with a bracket", "Content(Length): 4"],
  ["a byte outside ASCII in a name", "Content-Length\xa0: 4"],
  ["a bare line feed", "X-A: b\nTransfer-Encoding: chunked"],
  ["a bare carriage return", "X-A: b\rTransfer-Encoding: chunked"],
  ["NUL in a value", "X-A: b\x00c"],
  ["an escape character in a value", "X-A: b\x1b[2J"],
  ["a second Host", "Host: other"],
];

/** Starts of requests that are none. */
const STARTS: readonly (readonly [what: string, text: string])[] = [
  ["Transfer-Encoding in HTTP/1.0", "POST / HTTP/1.0\r\nhost: shop\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
  ["a version that is none", "GET / HTTP/2.0\r\nhost: shop\r\n\r\n"],
  ["a version with more digits", "GET / HTTP/1.10\r\nhost: shop\r\n\r\n"],
  ["a version in lower case", "GET / http/1.1\r\nhost: shop\r\n\r\n"],
  ["no version", "GET /\r\n\r\n"],
  ["two spaces", "GET  / HTTP/1.1\r\nhost: shop\r\n\r\n"],
  ["a tab", "GET\t/ HTTP/1.1\r\nhost: shop\r\n\r\n"],
  ["a space inside the target", "GET /a b HTTP/1.1\r\nhost: shop\r\n\r\n"],
  ["a space behind the version", "GET / HTTP/1.1 \r\nhost: shop\r\n\r\n"],
  ["a space before the method", " GET / HTTP/1.1\r\nhost: shop\r\n\r\n"],
  ["a space before the first field", "GET / HTTP/1.1\r\n host: shop\r\n\r\n"],
  ["nothing but line feeds", "GET / HTTP/1.1\nhost: shop\n\n"],
  ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
  ["a request line of HTTP/2", "GET / HTTP/2\r\nhost: shop\r\n\r\n"],
];

/** Bodies whose framing breaks behind a good head. */
const BODIES: readonly (readonly [what: string, body: string])[] = [
  ["a signed chunk size", "+4\r\nbody\r\n0\r\n\r\n"],
  ["a chunk size with a prefix", "0x4\r\nbody\r\n0\r\n\r\n"],
  ["a chunk size with a space before it", " 4\r\nbody\r\n0\r\n\r\n"],
  ["a chunk size with a space behind it", "4 \r\nbody\r\n0\r\n\r\n"],
  ["an empty chunk size", "\r\nbody\r\n0\r\n\r\n"],
  ["a negative chunk size", "-1\r\nbody\r\n0\r\n\r\n"],
  ["a chunk size beyond counting", "10000000000000004\r\nbody\r\n0\r\n\r\n"],
  ["a chunk that is longer than its size", "3\r\nbody\r\n0\r\n\r\n"],
  ["a chunk that is shorter than its size", "5\r\nbody\r\n0\r\n\r\n"],
  ["a bare line feed behind a chunk size", "4\nbody\r\n0\r\n\r\n"],
  ["a bare line feed behind a chunk", "4\r\nbody\n0\r\n\r\n"],
  ["a line feed in a chunk extension", "4;a=b\nGET / HTTP/1.1\r\nbody\r\n0\r\n\r\n"],
  ["a trailer that is none", "4\r\nbody\r\n0\r\nno colon\r\n\r\n"],
  ["a folded trailer", "4\r\nbody\r\n0\r\nx-a: b\r\n c\r\n\r\n"],
  ["a space before the colon of a trailer", "4\r\nbody\r\n0\r\ncontent-length : 4\r\n\r\n"],
];

/** Answers that are refused as a whole. */
const ANSWERS: Readonly<Record<string, string>> = {
  "two lengths": "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 20\r\n\r\nok",
  "length and chunks": "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  "a coding that is not chunked": "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  "a signed length": "HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
  "a space before a colon": "HTTP/1.1 200 OK\r\ncontent-length : 2\r\n\r\nok",
  "a bare line feed": "HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nok",
  "NUL in a value": "HTTP/1.1 200 OK\r\nx-a: \x00\r\ncontent-length: 2\r\n\r\nok",
  "a status that is none": "HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nok",
  "a switch of protocols that nobody asked for": "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\npoison",
  "a storm of interim answers": `${"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100)}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok`,
};

const WEBSOCKET = {
  connection: "upgrade",
  upgrade: "websocket",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
  "sec-websocket-version": "13",
};

/** Answers to WebSocket handshakes. */
const SWITCHES: Readonly<Record<string, Script>> = {
  "/switch/held": (socket) => void (later = socket),
  "/switch/other": "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
  "/switch/nothing": "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
  "/switch/proofless": "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
  "/switch/agreed":
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n" +
    "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
};

const POISON = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

/** The connection on which the rest comes later, once the test says so. */
let later: Socket | undefined;

/** Whole answers with something behind them, which must never become somebody else's answer. */
const SURPLUS: Readonly<Record<string, Script>> = {
  "/surplus/at-once": `HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok${POISON}`,
  "/surplus/head": `HTTP/1.1 200 OK\r\ncontent-length: ${POISON.length}\r\n\r\n${POISON}`,
  "/surplus/no-content": `HTTP/1.1 204 No Content\r\n\r\n${POISON}`,
  "/surplus/not-modified": `HTTP/1.1 304 Not Modified\r\ncontent-length: ${POISON.length}\r\n\r\n${POISON}`,
  "/surplus/chunked": `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n${POISON}`,
  "/surplus/short": `HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nok${POISON}`,
  "/surplus/later": (socket) => {
    later = socket;
    socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
  },
};

const scripts: Readonly<Record<string, Script>> = {
  ...SURPLUS,
  ...SWITCHES,
  ...Object.fromEntries(Object.values(ANSWERS).map((text, index) => [`/answer/${index}/`, text])),
};

describe("smuggling through a waypoint", () => {
  let shop: Shop;
  let neighbour: HttpWire;
  let logged = 0;

  before(async () => {
    shop = await startShop({ scripts });
    neighbour = await shop.dial();
  });

  beforeEach(() => {
    logged = shop.waypoint.log.length;
  });

  afterEach(async () => {
    const answer = await neighbour.get("/neighbour");
    assert.equal((JSON.parse(answer.text) as Seen).line, "GET /neighbour HTTP/1.1", "a neighbour gets its own answer");
    assert.doesNotMatch(shop.apps[0].http.heard(), /\/smuggled/);
  });

  after(async () => {
    neighbour.close();
    await shop.mesh.stop();
  });

  /** Waits for exactly these codes in the log lines since the test began. */
  async function codes(...expected: readonly string[]): Promise<void> {
    const found = await until(`${expected.length} log lines with a code`, () => {
      const coded = shop.waypoint.log.slice(logged).flatMap(({ code }) => code ?? []);
      return coded.length >= expected.length ? coded : undefined;
    });
    assert.deepEqual(found, expected);
  }

  /** Sends bytes whole or one by one, and waits for the only answer and the end of the connection. */
  async function refusal(text: string, cut: "whole" | "byte by byte"): Promise<WireAnswer> {
    const wire = await shop.dial();
    if (cut === "whole") wire.send(text);
    else for (const byte of text) wire.send(byte);
    const answer = await wire.answer();
    assert.equal(await wire.ended(), "end");
    assert.equal(wire.unread, "", "one answer and no second one");
    wire.close();
    return answer;
  }

  for (const [what, text] of [
    ...HEADS.map(([each, lines]) => [each, `POST /bad HTTP/1.1\r\nhost: shop\r\n${lines}\r\n\r\n0\r\n\r\n`] as const),
    ...STARTS,
  ]) {
    test(`M1: ${what} is refused, and nothing reaches the application`, async () => {
      const { seen } = shop.apps[0].http;
      const { length } = seen;
      for (const cut of ["whole", "byte by byte"] as const) {
        const answer = await refusal(text + SMUGGLED, cut);
        assert.equal(verdictOf(answer), "400 REQUEST_MALFORMED", cut);
        assert.equal(field(answer.head, "connection"), "close");
      }
      assert.equal(seen.length, length);
      await codes("REQUEST_MALFORMED", "REQUEST_MALFORMED");
    });
  }

  for (const [what, body] of BODIES) {
    test(`M7: ${what} ends both sides, and the request never becomes whole`, async () => {
      const { seen } = shop.apps[0].http;
      const { length } = seen;
      for (const cut of ["whole", "byte by byte"] as const) {
        const head = "POST /bad HTTP/1.1\r\nhost: shop\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert.equal(verdictOf(await refusal(head + body + SMUGGLED, cut)), "400 REQUEST_MALFORMED", cut);
      }
      assert.equal(seen.length, length);
      await codes("REQUEST_MALFORMED", "REQUEST_MALFORMED");
    });
  }

  test("M7: a body that ends early never becomes whole", async () => {
    const { length } = shop.apps[0].http.seen;
    for (const text of [
      "POST /short HTTP/1.1\r\nhost: shop\r\ncontent-length: 10\r\n\r\nshort",
      "POST /short HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ]) {
      const wire = await shop.dial();
      wire.send(text);
      wire.finish();
      assert.notEqual(await wire.ended(), "end");
      assert.equal(wire.unread, "");
      wire.close();
    }
    assert.equal(shop.apps[0].http.seen.length, length);
    await codes("DOWNSTREAM_CLOSED", "DOWNSTREAM_CLOSED");
  });

  test("M1: what is behind a whole body is the next request, and judged as one", async () => {
    const wire = await shop.dial();
    wire.send("POST /whole HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nbodyGARBAGE\r\n\r\n");
    assert.equal((JSON.parse((await wire.answer()).text) as Seen).body, "body");
    assert.equal(verdictOf(await wire.answer()), "400 REQUEST_MALFORMED");
    assert.equal(await wire.ended(), "end");
    wire.close();
    await codes("REQUEST_MALFORMED");
  });

  test("M1: framing in disguise frames nothing and goes nowhere", async () => {
    const got: Seen[] = [];
    for (const disguised of [
      "Content_Length: 50",
      "Transfer_Encoding: chunked",
      "content_length: 50\r\ntransfer_encoding: chunked",
    ]) {
      const wire = await shop.dial();
      got.push(
        JSON.parse((await wire.ask(`POST /disguise HTTP/1.1\r\nhost: shop\r\n${disguised}\r\n\r\n`)).text) as Seen,
      );
      assert.equal((await wire.get("/after")).status, 200);
      wire.close();
    }
    for (const { fields: names, body } of got) {
      assert.ok(!names.some(([name]) => /^(content|transfer).(length|encoding)$/i.test(name)), JSON.stringify(names));
      assert.equal(body, "");
    }
  });

  test("more fields, longer lines and more bytes than any sane request are 431", async () => {
    for (const lines of [
      Array.from({ length: 2_001 }, (_, i) => `x-${i}: y`).join("\r\n") + "\r\ncontent-length: 4",
      Array.from({ length: 1_001 }, (_, i) => `x-${i}: y`).join("\r\n") + "\r\ncontent-length: 4",
      `x-long: ${"y".repeat(40_000)}`,
      `${"n".repeat(300)}: y`,
      Array.from({ length: 5 }, (_, i) => `x-${i}: ${"y".repeat(20_000)}`).join("\r\n"),
    ]) {
      const { length } = shop.apps[0].http.seen;
      const answer = await refusal(`GET /large HTTP/1.1\r\nhost: shop\r\n${lines}\r\n\r\n${SMUGGLED}`, "whole");
      assert.equal(verdictOf(answer), "431 REQUEST_TOO_LARGE");
      assert.equal(shop.apps[0].http.seen.length, length);
    }
    await codes(...Array.from({ length: 5 }, () => "REQUEST_TOO_LARGE"));
  });

  test("M4: nothing behind a refused switch of protocols is a request, or goes anywhere", async () => {
    const { seen } = shop.apps[0].http;
    const { length } = seen;
    const upgrade = request("GET", "/switch", { connection: "upgrade", upgrade: "tcp" });
    assert.equal(verdictOf(await refusal(upgrade + SMUGGLED, "whole")), "501 UPGRADE_REFUSED");
    assert.equal(verdictOf(await refusal(request("CONNECT", "shop:80") + SMUGGLED, "whole")), "405 METHOD_REFUSED");
    const keyless = request("GET", "/switch", { connection: "upgrade", upgrade: "websocket" });
    assert.equal(verdictOf(await refusal(keyless + SMUGGLED, "whole")), "400 REQUEST_MALFORMED");
    const bodied = request("GET", "/switch", { ...WEBSOCKET, "content-length": String(SMUGGLED.length) });
    assert.equal(verdictOf(await refusal(bodied + SMUGGLED, "whole")), "400 REQUEST_MALFORMED");
    assert.equal(seen.length, length);
    await codes("UPGRADE_REFUSED", "METHOD_REFUSED", "REQUEST_MALFORMED", "REQUEST_MALFORMED");
  });

  test("M4: what is behind a WebSocket handshake goes nowhere before the application has agreed, and nowhere if it refuses", async () => {
    const wire = await shop.dial();
    wire.send(request("GET", "/switch/held", WEBSOCKET) + SMUGGLED);
    const app = await until("the handshake at the application", () => later);
    assert.doesNotMatch(shop.apps[0].http.heard(), /\/smuggled/);
    app.write("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    const answer = await wire.answer();
    assert.deepEqual([answer.status, field(answer.head, "connection")], [403, "close"]);
    assert.equal(await wire.ended(), "end");
    wire.close();
    await until("the end of the application's connection", () => app.destroyed || app.readableEnded);
  });

  test("M4: an agreement that nobody asked for, or to something else, is 502", async () => {
    for (const path of ["/switch/other", "/switch/nothing", "/switch/proofless"]) {
      const wire = await shop.dial();
      wire.send(request("GET", path, WEBSOCKET) + SMUGGLED);
      const answer = await wire.answer();
      assert.equal(verdictOf(answer), "502 UPSTREAM_RESPONSE_MALFORMED");
      assert.equal(await wire.ended(), "end");
      wire.close();
    }
    await codes(...Array.from({ length: 3 }, () => "UPSTREAM_RESPONSE_MALFORMED"));
  });

  test("M4: a connection that has switched serves nobody afterwards", async () => {
    const wire = await shop.dial();
    wire.send(request("GET", "/switch/agreed", WEBSOCKET));
    await until("the switch", () => wire.unread.startsWith("HTTP/1.1 101 "));
    wire.finish();
    assert.equal(await wire.ended(), "end");
    wire.close();
    const wires = await Promise.all(Array.from({ length: 4 }, () => shop.dial()));
    for (const next of wires) {
      assert.equal((JSON.parse((await next.get("/next")).text) as Seen).line, "GET /next HTTP/1.1");
      next.close();
    }
  });

  test("M1: where a message is cut on its way changes nothing", async () => {
    const chunked = "4;a=b\r\nbody\r\n0\r\nhost: evil\r\n\r\n";
    const good = `POST /cut HTTP/1.1\r\nhost: shop\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`;
    const bad = `POST /smuggled HTTP/1.1\r\nhost: shop\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`;
    for (const [text, verdict] of [
      [good, "200"],
      [bad, "400 REQUEST_MALFORMED"],
    ] as const) {
      for (let cut = 1; cut < text.length; cut += 1) {
        const wire = await shop.dial();
        wire.send(text.slice(0, cut));
        await new Promise((resolve) => void setImmediate(resolve));
        // A refusal may come before the rest has gone.
        wire.send(text.slice(cut));
        const answer = await wire.answer();
        assert.equal(verdictOf(answer), verdict, `cut at ${cut}`);
        if (verdict === "200") assert.equal((JSON.parse(answer.text) as Seen).body, "body", `cut at ${cut}`);
        wire.close();
      }
    }
    await codes(...Array.from({ length: bad.length - 1 }, () => "REQUEST_MALFORMED"));
  });

  test("O3: what a client writes into fields stays inside its one line of the log", async () => {
    const wire = await shop.dial();
    const agent = `"},{"level":"info","code":"FORGED"}\\\u2028 \xe2\x80\xa8${"long ".repeat(200)}`;
    await wire.get('/log/"},{"code":"FORGED"}', { "user-agent": agent, "x-forwarded-for": '"\\' });
    wire.close();
    const line = await until("the line of the request", () =>
      shop.waypoint.log.slice(logged).find(({ path }) => String(path).startsWith("/log/")),
    );
    assert.equal(line["code"], undefined);
    assert.equal(line["path"], '/log/"},{"code":"FORGED"}');
    assert.ok(Buffer.byteLength(String(line["user_agent"])) < 300);
  });

  test("M5: nothing that Connection names takes away what the waypoint says, or what frames the request", async () => {
    const wire = await shop.dial();
    const { text } = await wire.ask(
      "POST /named HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\nx-own: 1\r\n" +
        "x-forwarded-for: 192.0.2.1\r\nx-forwarded-client-cert: URI=spiffe://evil\r\nx-request-id: mine\r\n" +
        "Connection: x-forwarded-client-cert, X-Forwarded-For, x-request-id, x-culvert-via\r\n" +
        "Connection: Host, Content-Length, transfer-encoding, x-own, close-not\r\n\r\nbody",
    );
    wire.close();
    const got = JSON.parse(text) as Seen;
    assert.deepEqual(seenValues(got, "x-forwarded-client-cert"), [
      `By=${spiffeId("waypoint")};URI=${spiffeId("client")}`,
    ]);
    assert.match(seenValues(got, "x-forwarded-for").join("|"), /(^|, )127\.[\d.]+$/);
    assert.equal(seenValues(got, "x-request-id").length, 1);
    assert.equal(seenValues(got, "x-culvert-via").length, 1);
    assert.deepEqual(seenValues(got, "host"), ["shop"]);
    assert.deepEqual(seenValues(got, "content-length"), ["4"]);
    assert.deepEqual(seenValues(got, "x-own"), []);
    assert.equal(got.body, "body");
  });

  test("T3: the identity of the caller cannot be forged, whatever the spelling, number or place of the field", async () => {
    const forged = "By=spiffe://cluster.local/ns/default/sa/waypoint;URI=spiffe://cluster.local/ns/default/sa/admin";
    for (const lines of [
      `x-forwarded-client-cert: ${forged}`,
      `X-FORWARDED-CLIENT-CERT: ${forged}`,
      `x_forwarded_client_cert: ${forged}`,
      `X_Forwarded-Client_Cert: ${forged}`,
      `x-forwarded-client-cert: ${forged}\r\nx-forwarded-client-cert: ${forged}`,
      `connection: x-forwarded-client-cert\r\nx-forwarded-client-cert: ${forged}`,
      `connection: x_forwarded_client_cert\r\nx_forwarded_client_cert: ${forged}`,
    ]) {
      const wire = await shop.dial();
      const got = JSON.parse((await wire.ask(`GET /who HTTP/1.1\r\nhost: shop\r\n${lines}\r\n\r\n`)).text) as Seen;
      wire.close();
      const all = got.fields.filter(([name]) => name.toLowerCase().replaceAll("_", "-") === "x-forwarded-client-cert");
      assert.deepEqual(
        all.map(([, value]) => value),
        [`By=${spiffeId("waypoint")};URI=${spiffeId("client")}`],
        lines,
      );
    }
  });

  for (const [index, what] of Object.keys(ANSWERS).entries()) {
    test(`M7: an answer with ${what} is 502, and its connection serves nobody again`, async () => {
      const wire = await shop.dial();
      const { connection } = JSON.parse((await wire.get("/good")).text) as Seen;
      assert.equal(verdictOf(await wire.get(`/answer/${index}/`)), "502 UPSTREAM_RESPONSE_MALFORMED");
      const next = JSON.parse((await wire.get("/next")).text) as Seen;
      assert.equal(next.line, "GET /next HTTP/1.1");
      assert.notEqual(next.connection, connection);
      wire.close();
      await codes("UPSTREAM_RESPONSE_MALFORMED");
    });
  }

  for (const path of Object.keys(SURPLUS)) {
    test(`M6: what comes behind the answer to ${path} is nobody's answer`, async () => {
      const wires = await Promise.all(Array.from({ length: 4 }, () => shop.dial()));
      for (const wire of wires) await wire.get("/warm");
      const [first] = wires as [HttpWire];
      const text = path.endsWith("head") ? request("HEAD", path) : request("GET", path);
      const answer = await first.ask(text);
      assert.ok([200, 204, 304].includes(answer.status));
      assert.doesNotMatch(answer.text, /poison/);
      assert.deepEqual(fields(answer.head, "culvert-code"), []);
      if (path === "/surplus/later") {
        const idle = later;
        idle?.write(POISON);
        // What comes after the next request was sent could not be told from its answer; what comes before must be noticed.
        await until("the end of a connection that spoke unasked", () => idle?.destroyed);
      }
      for (let i = 0; i < 25; i++) {
        for (const wire of wires) {
          const next = JSON.parse((await wire.get(`/next-${i}`)).text) as Seen;
          assert.equal(next.line, `GET /next-${i} HTTP/1.1`);
        }
      }
      for (const wire of wires) wire.close();
    });
  }
});
