import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { CHUNKED, LENGTH, NO_BODY } from "../http/body-kind.ts";
import { HeaderSlots } from "../http1/header-slots.ts";
import { DEFAULT_HTTP_LIMITS } from "../http/limits.ts";
import { Http2RequestHead } from "./request-head.ts";

const USUAL: Readonly<Record<string, string>> = {
  ":method": "GET",
  ":scheme": "http",
  ":authority": "reviews:9080",
  ":path": "/a?b=c",
};

type Fields = readonly (readonly [name: string, value: string])[];

/** A head with the usual pseudo-header fields, of which `pseudo` changes some and `undefined` takes some away. */
function read(
  fields: Fields,
  pseudo: Readonly<Record<string, string | undefined>> = {},
  ended = true,
): Http2RequestHead | Failure {
  const head = new Http2RequestHead(DEFAULT_HTTP_LIMITS, new Set(["websocket"]));
  const list: string[] = [];
  for (const [name, value] of Object.entries({ ...USUAL, ...pseudo })) if (value !== undefined) list.push(name, value);
  for (const field of fields) list.push(...field);
  return head.read(list, ended) ?? head;
}

function good(...parts: Parameters<typeof read>): Http2RequestHead {
  const head = read(...parts);
  assert.ok(!isFailure(head), isFailure(head) ? head.detail : "");
  return head;
}

/** Why a head is refused, if it is. */
function codeOf(...parts: Parameters<typeof read>): string | undefined {
  const head = read(...parts);
  return isFailure(head) ? head.code : undefined;
}

test("start line, kept fields and what this hop says itself are told apart", () => {
  const head = good([
    ["accept", "*/*"],
    ["host", "REVIEWS:9080"],
    ["x-forwarded-for", "1.1.1.1"],
    ["x-forwarded-client-cert", "evil"],
    ["x_forwarded_client_cert", "evil"],
    ["content_length", "5"],
    ["http2-settings", "x"],
    ["x-forwarded-for", "2.2.2.2"],
    ["x-request-id", "id-1"],
    ["x-culvert-via", "a/b"],
    ["te", "trailers"],
    ["cookie", "a=1"],
    ["x-own", ""],
    ["cookie", "b=2"],
    ["expect", "100-continue"],
  ]);
  assert.deepEqual(
    [head.method, head.target, head.authority, head.version],
    ["GET", "/a?b=c", "reviews:9080", "HTTP/2"],
  );
  assert.equal(head.keptFields(), "accept: */*\r\ncookie: a=1; b=2\r\nx-own: \r\nexpect: 100-continue\r\n");
  assert.equal(head.forwardedFor(), "1.1.1.1, 2.2.2.2");
  assert.equal(head.via(), "a/b");
  assert.equal(head.requestId(), "id-1");
  assert.equal(head.takesTrailers, true);
  const slots = new HeaderSlots(["cookie", "x-own", "x-forwarded-for", "x-forwarded-client-cert", "none"]);
  // oxlint-disable-next-line unicorn/no-array-fill-with-reference-type -- it is no array.
  head.fill(slots);
  const values = [0, 1, 2, 3, 4].map((slot) => [
    head.fieldCount(slot),
    head.fieldValue(slot, 0),
    head.fieldValue(slot, 1),
  ]);
  assert.deepEqual(values, [
    [1, "a=1; b=2", undefined],
    [1, "", undefined],
    [2, "1.1.1.1", "2.2.2.2"],
    [0, undefined, undefined],
    [0, undefined, undefined],
  ]);
});

test("one object reads one head after another", () => {
  const head = new Http2RequestHead(DEFAULT_HTTP_LIMITS, new Set(["websocket"]));
  const usual = Object.entries(USUAL).flat();
  assert.equal(
    head.read([...usual, "cookie", "a=1", "te", "trailers", "x-request-id", "i", "content-length", "3"], false),
    undefined,
  );
  assert.equal(head.body, LENGTH);
  assert.equal(head.read([...usual, "content-length", "0"], false), undefined);
  assert.deepEqual([head.body, head.keptFields()], [CHUNKED, ""], "nothing is promised before the stream has ended");
  assert.equal(head.read([...usual, "content-length", "0"], true), undefined);
  assert.deepEqual([head.body, head.keptFields()], [NO_BODY, "content-length: 0\r\n"]);
  assert.equal(head.read(usual, true), undefined);
  assert.deepEqual(
    [head.body, head.keptFields(), head.takesTrailers, head.requestId(), head.contentLength],
    [NO_BODY, "", false, "", -1],
  );
});

test("the length of a body is announced, or told by its end", () => {
  assert.equal(good([], {}, true).body, NO_BODY);
  assert.equal(good([], {}, false).body, CHUNKED);
  assert.equal(good([["content-length", "10"]], {}, false).body, LENGTH);
  assert.equal(good([["content-length", "0"]], {}, false).body, CHUNKED);
  assert.equal(good([["content-length", "0"]], {}, true).body, NO_BODY);
});

test("a malformed head is refused", () => {
  const cases: readonly [string, Fields, Record<string, string | undefined>?, boolean?][] = [
    ["no path", [], { ":path": undefined }],
    ["an empty path", [], { ":path": "" }],
    ["an absolute target", [], { ":path": "http://a/" }],
    ["an asterisk for GET", [], { ":path": "*" }],
    ["a space in the path", [], { ":path": "/a b" }],
    ["CR LF in the path", [], { ":path": "/ HTTP/1.1\r\nhost: evil" }],
    ["a byte beyond ASCII in the path", [], { ":path": "/\u00e9" }],
    ["a lower-case method", [], { ":method": "get" }],
    ["CR LF in the method", [], { ":method": "GET / HTTP/1.1\r\nx: " }],
    ["no method", [], { ":method": undefined }],
    ["another scheme", [], { ":scheme": "ftp" }],
    ["CR LF in the scheme", [], { ":scheme": "http\r\nx" }],
    ["no scheme", [], { ":scheme": undefined }],
    ["no authority", [], { ":authority": undefined }],
    ["userinfo", [], { ":authority": "user@reviews" }],
    ["an empty authority", [], { ":authority": "" }],
    ["a list of authorities", [], { ":authority": "a,b" }],
    ["an unknown pseudo-header field", [], { ":status": "200" }],
    ["a protocol without CONNECT", [], { ":protocol": "websocket" }],
    ["another Host", [["host", "other"]]],
    [
      "two Hosts",
      [
        ["host", "reviews:9080"],
        ["host", "reviews:9080"],
      ],
    ],
    ["a connection's own field", [["connection", "close"]]],
    ["a field that Connection would name", [["keep-alive", "1"]]],
    ["H2.TE", [["transfer-encoding", "chunked"]], {}, false],
    ["another TE", [["te", "gzip"]]],
    [
      "two lengths",
      [
        ["content-length", "1"],
        ["content-length", "1"],
      ],
      {},
      false,
    ],
    ["a signed length", [["content-length", "+1"]], {}, false],
    ["a padded length", [["content-length", "01"]], {}, false],
    ["a list of lengths", [["content-length", "1, 1"]], {}, false],
    ["a length and no body", [["content-length", "1"]], {}, true],
    [
      "two expectations",
      [
        ["expect", "100-continue"],
        ["expect", "100-continue"],
      ],
    ],
    ["a switch that has ended", [], { ":method": "CONNECT", ":protocol": "websocket" }, true],
    ["a switch with a length", [["content-length", "1"]], { ":method": "CONNECT", ":protocol": "websocket" }, false],
  ];
  for (const [what, fields, pseudo, ended] of cases) {
    const head = read(fields, pseudo, ended);
    assert.ok(isFailure(head) && head.code === "REQUEST_MALFORMED", what);
  }
});

test("what is well-formed and not served says why", () => {
  assert.equal(codeOf([], { ":method": "CONNECT", ":path": undefined, ":scheme": undefined }), "METHOD_REFUSED");
  assert.equal(codeOf([], { ":method": "CONNECT" }), "METHOD_REFUSED");
  assert.equal(codeOf([], { ":method": "TRACE" }), "METHOD_REFUSED");
  assert.equal(codeOf([], { ":method": "CONNECT", ":protocol": "connect-udp" }, false), "UPGRADE_REFUSED");
  assert.equal(codeOf([["expect", "more"]]), "EXPECTATION_REFUSED");
  const many = Array.from({ length: 101 }, (_, i) => [`x-${i}`, ""] as const);
  assert.equal(codeOf(many), "REQUEST_TOO_LARGE");
  assert.equal(codeOf([["x", "x".repeat(32 * 1024 + 1)]]), "REQUEST_TOO_LARGE");
  assert.equal(codeOf([["x".repeat(257), "x"]]), "REQUEST_TOO_LARGE");
  const heavy = Array.from({ length: 10 }, (_, i) => [`x-${i}`, "x".repeat(7_000)] as const);
  assert.equal(codeOf(heavy), "REQUEST_TOO_LARGE");
  assert.equal(
    codeOf(Array.from({ length: 200 }, () => ["cookie", "a=1"] as const)),
    undefined,
    "crumbs are one field",
  );
});

test("an extended CONNECT is the GET that HTTP/1.1 would ask", () => {
  const fields = [
    ["sec-websocket-key", "x"],
    ["sec-websocket-version", "13"],
  ] as const;
  const head = good(fields, { ":method": "CONNECT", ":protocol": "WebSocket" }, false);
  assert.deepEqual([head.method, head.upgrade, head.body], ["GET", "websocket", NO_BODY]);
  assert.equal(head.keptFields(), "sec-websocket-version: 13\r\n");
});

test("OPTIONS may ask for the server as a whole", () => {
  assert.equal(good([], { ":method": "OPTIONS", ":path": "*" }).target, "*");
});
