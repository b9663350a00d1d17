// Hostile HTTP/2 clients of a waypoint, inside their tunnel: what would be another request, or more than one, to an application in
// HTTP/1.1 (M2, M5), and the floods of the tunnel's own catalogue (H1, H2, H3, H4, H6) one floor higher.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import * as h2 from "../support/h2-raw.ts";
import { request, type HttpWire } from "../support/http-wire.ts";
import { SHOP, startShop, type Shop } from "../support/shop.ts";
import { until } from "../support/until.ts";
import { seenValues, type Seen } from "../support/wire-app.ts";

const { END_STREAM, END_HEADERS } = h2.FLAG;
const CANCEL = 8;
const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\n";

const USUAL: readonly h2.Field[] = [
  [":method", "POST"],
  [":scheme", "http"],
  [":authority", "shop"],
  [":path", "/attack"],
];

/** The usual pseudo-header fields, of which one is another. */
function but(name: string, value: string): h2.Field[] {
  return USUAL.map((each) => (each[0] === name ? [name, value] : each));
}

function and(...fields: h2.Field[]): h2.Field[] {
  return [...USUAL, ...fields];
}

/** Requests that must never reach the application, in whole or in part. */
const REFUSED: readonly (readonly [what: string, fields: readonly h2.Field[], body?: string])[] = [
  ["CR LF in the path", but(":path", `/ HTTP/1.1\r\nhost: shop\r\n\r\n${SMUGGLED}`)],
  ["a space in the path", but(":path", "/ HTTP/1.1")],
  ["NUL in the path", but(":path", "/\0")],
  ["no slash before the path", but(":path", "attack")],
  ["an absolute target", but(":path", "http://other/")],
  ["an empty path", but(":path", "")],
  ["CR LF in the method", but(":method", "GET /smuggled HTTP/1.1\r\nhost: shop\r\n\r\nGET")],
  ["a space in the method", but(":method", "GET /smuggled")],
  ["a lower-case method", but(":method", "post")],
  ["CR LF in the scheme", but(":scheme", "http\r\nx: y")],
  ["a path in the scheme", but(":scheme", "http://shop/smuggled?")],
  ["CR LF in the authority", but(":authority", "shop\r\nx: y")],
  ["userinfo in the authority", but(":authority", "shop@other")],
  ["another Host", and(["host", "other"])],
  ["two Hosts", and(["host", "shop"], ["host", "shop"])],
  ["two paths", and([":path", "/smuggled"])],
  ["two methods", [[":method", "GET"], ...USUAL]],
  ["a pseudo-header field behind others", [...and(["x", "y"]), [":protocol", "websocket"]]],
  ["a response's pseudo-header field", [[":status", "200"], ...USUAL]],
  ["H2.TE", and(["transfer-encoding", "chunked"]), `0\r\n\r\n${SMUGGLED}`],
  [
    "H2.TE with a connection's field",
    and(["connection", "transfer-encoding"], ["transfer-encoding", "chunked"]),
    SMUGGLED,
  ],
  ["Upgrade", and(["upgrade", "h2c"], ["connection", "upgrade"])],
  ["Keep-Alive", and(["keep-alive", "timeout=5"])],
  ["Proxy-Connection", and(["proxy-connection", "keep-alive"])],
  ["a TE that is more than trailers", and(["te", "trailers, chunked"])],
  ["H2.CL: a shorter length", and(["content-length", "0"]), SMUGGLED],
  ["H2.CL: a length in the middle", and(["content-length", "4"]), `body${SMUGGLED}`],
  ["H2.CL: a longer length", and(["content-length", "1000"]), "body"],
  ["two lengths", and(["content-length", "4"], ["content-length", "4"]), "body"],
  ["two different lengths", and(["content-length", "4"], ["content-length", "0"]), "body"],
  ["a signed length", and(["content-length", "+4"]), "body"],
  ["a length in hexadecimal", and(["content-length", "0x4"]), "body"],
  ["a list of lengths", and(["content-length", "4, 4"]), "body"],
];

/** Fields that the library leaves out of a request that goes on without them. */
const DROPPED: readonly (readonly [what: string, field: h2.Field])[] = [
  ["CR LF in a value", ["x-a", `b\r\n\r\n${SMUGGLED}`]],
  ["a bare line feed in a value", ["x-a", "b\ntransfer-encoding: chunked"]],
  ["NUL in a value", ["x-a", "b\0c"]],
  ["CR LF in a name", ["x-a: b\r\ntransfer-encoding", "chunked"]],
  ["a space in a name", ["transfer-encoding ", "chunked"]],
  ["a colon in a name", ["transfer-encoding:", "chunked"]],
  ["a name in upper case", ["Transfer-Encoding", "chunked"]],
  ["an empty name", ["", "transfer-encoding: chunked"]],
  ["whitespace before a value", ["x-a", "\tb"]],
];

describe("a hostile HTTP/2 client of a waypoint", () => {
  let shop: Shop;
  let neighbour: HttpWire;
  let raw: h2.RawH2;
  let logged = 0;

  before(async () => {
    shop = await startShop();
    neighbour = await shop.dial();
  });

  beforeEach(async () => {
    logged = shop.waypoint.log.length;
    raw = await h2.connectPlain(shop.client.inside, SHOP.http);
  });

  afterEach(async () => {
    raw.close();
    const answer = await neighbour.get("/neighbour");
    assert.equal((JSON.parse(answer.text) as Seen).line, "GET /neighbour HTTP/1.1", "a neighbour gets its own answer");
    assert.doesNotMatch(shop.apps[0].http.heard(), /\/smuggled/);
  });

  after(async () => {
    neighbour.close();
    await shop.mesh.stop();
  });

  function logLine(code: string): Promise<unknown> {
    return until(`a log line with ${code}`, () =>
      shop.waypoint.log.slice(logged).find((line) => line["code"] === code),
    );
  }

  /** Those of these requests that have reached the application whole. */
  function reached(): readonly Seen[] {
    return shop.apps[0].http.seen.filter(({ line }) => !line.includes("/neighbour"));
  }

  /** Sends one request and waits until its stream is over, or the session. */
  async function attack(fields: readonly h2.Field[], body?: string): Promise<number | string | undefined> {
    raw.send(h2.headers(1, fields, body === undefined ? END_HEADERS | END_STREAM : END_HEADERS));
    if (body !== undefined) raw.send(h2.data(1, body, END_STREAM));
    return raw.outcome(1);
  }

  for (const [what, fields, body] of REFUSED) {
    test(`M2: ${what} never is a request to the application`, async () => {
      const { length } = reached();
      const outcome = await attack(fields, body);
      assert.ok(outcome === 400 || outcome === "reset 1" || outcome === undefined, `${outcome}`);
      assert.deepEqual(reached().slice(length), []);
    });
  }

  for (const [what, field] of DROPPED) {
    test(`M2: ${what} does not go on, and the request is one request`, async () => {
      const { length } = reached();
      const outcome = await attack(and(field, ["content-length", "4"]), "body");
      if (outcome !== 200) {
        assert.ok(outcome === 400 || outcome === "reset 1" || outcome === undefined, `${outcome}`);
        assert.deepEqual(reached().slice(length), []);
        return;
      }
      const [seen, ...others] = reached().slice(length);
      assert.equal(seen?.body, "body");
      assert.deepEqual(
        seen.fields.filter(([name]) => /^(x-a|transfer-encoding|)$/i.test(name)),
        [],
      );
      assert.deepEqual(others, []);
    });
  }

  test("M5: what this hop says itself is said by it alone", async () => {
    const { length } = reached();
    const forged: h2.Field[] = [
      ["x-forwarded-client-cert", "URI=spiffe://evil"],
      ["x_forwarded_client_cert", "URI=spiffe://evil"],
      ["content_length", "100"],
      ["http2-settings", "AAMAAABk"],
    ];
    assert.equal(await attack(and(...forged)), 200);
    const seen = reached()[length];
    assert.ok(seen !== undefined);
    assert.equal(seenValues(seen, "x-forwarded-client-cert").length, 1);
    assert.doesNotMatch(JSON.stringify(seen.fields), /evil|content_length|http2-settings/);
  });

  test("H1: rapid reset starts few requests, and ends the session", async () => {
    const { length } = reached();
    for (let index = 0; index < 20_000 && !raw.closed; index += 100) {
      const pairs = Array.from({ length: 100 }, (_, at) => {
        const stream = (index + at) * 2 + 1;
        return Buffer.concat([h2.headers(stream, USUAL, END_HEADERS | END_STREAM), h2.reset(stream, CANCEL)]);
      });
      await raw.sendAll(...pairs);
    }
    await raw.end();
    assert.ok(reached().length - length <= 1_200, `${reached().length - length} requests`);
    await logLine("MISBEHAVING_PEER");
  });

  test("H2: streams that are made to be reset end the session too", async () => {
    const { length } = reached();
    for (let index = 0; index < 20_000 && !raw.closed; index += 50) {
      const attacks = Array.from({ length: 50 }, (_, at) => {
        const stream = (index + at) * 2 + 1;
        return Buffer.concat([h2.headers(stream, USUAL), h2.windowUpdate(stream, 0)]);
      });
      await raw.sendAll(...attacks);
    }
    await raw.end();
    assert.deepEqual(reached().slice(length), [], "none was ever whole");
  });

  for (const [what, flood] of [
    [
      "H3: CONTINUATION without end",
      [h2.headers(1, USUAL, 0), h2.frame(h2.TYPE.CONTINUATION, 0, 1, h2.block([["x", "y".repeat(8_000)]]))],
    ],
    ["H3: empty CONTINUATION without end", [h2.headers(1, USUAL, 0), h2.frame(h2.TYPE.CONTINUATION, 0, 1)]],
    ["H6: empty DATA", [h2.headers(1, USUAL), h2.data(1)]],
    ["H6: SETTINGS", [Buffer.alloc(0), h2.settings([[h2.SETTING.INITIAL_WINDOW_SIZE, 1_000]])]],
  ] as const) {
    test(`${what} ends the session`, async () => {
      raw.keep = 1_000;
      const [start, more] = flood;
      raw.send(start);
      const chunk = Buffer.concat(Array.from({ length: 200 }, () => more));
      for (let sent = 0; sent < 100_000 && !raw.closed; sent += 200) await raw.sendAll(chunk);
      await raw.end();
    });
  }

  test("H4: heads over the limit are refused, and then the session ends", async () => {
    const { length } = reached();
    const bomb = Array.from({ length: 30 }, (_, at): h2.Field => [`x-${at}`, "v".repeat(3_000)]);
    for (let stream = 1; stream < 40 && !raw.closed; stream += 2) {
      const block = h2.block(and(...bomb));
      const parts: Buffer[] = [];
      for (let at = 0; at < block.length; at += 16_000) {
        const type = at === 0 ? h2.TYPE.HEADERS : h2.TYPE.CONTINUATION;
        const last = at + 16_000 >= block.length ? END_HEADERS : 0;
        parts.push(h2.frame(type, at === 0 ? last | END_STREAM : last, stream, block.subarray(at, at + 16_000)));
      }
      await raw.sendAll(...parts);
    }
    const outcome = await raw.outcome(1);
    assert.ok(outcome === 431 || typeof outcome === "string" || outcome === undefined, `${outcome}`);
    assert.deepEqual(reached().slice(length), []);
  });

  test("a session that says nothing more than its preface is asked whether it lives", async () => {
    const ping = await raw.frame(({ type }) => type === h2.TYPE.PING);
    assert.ok(ping !== undefined);
    const answer = await neighbour.ask(request("GET", "/neighbour", {}));
    assert.equal(answer.status, 200);
  });
});
