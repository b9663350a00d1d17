import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_HTTP_LIMITS } from "../../http/limits.ts";
import { BROKEN, BodyDecoder, DATA, DONE, MORE } from "./body.ts";
import { CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE, type BodyKind } from "../../http/body-kind.ts";

interface Decoded {
  readonly body: string;
  readonly rest: string;
  readonly trailers: string;
  /** `whole`, `more`, or the problem. */
  readonly status: string;
}

/** Decodes `pieces` with a decoder that may have decoded before. */
function decode(
  pieces: readonly string[],
  kind: BodyKind,
  length = 0,
  decoder = new BodyDecoder(DEFAULT_HTTP_LIMITS),
): Decoded {
  decoder.begin(kind, length);
  let body = "";
  for (const [index, piece] of pieces.entries()) {
    const bytes = Buffer.from(piece, "latin1");
    let position = 0;
    for (;;) {
      const status = decoder.next(bytes, position, bytes.length);
      position = decoder.position;
      if (status === DATA) body += bytes.toString("latin1", decoder.dataStart, decoder.dataEnd);
      else if (status === DONE) {
        const rest = bytes.toString("latin1", position) + pieces.slice(index + 1).join("");
        return { body, rest, trailers: decoder.trailers, status: "whole" };
      } else if (status === BROKEN) return { body, rest: "", trailers: "", status: decoder.problem };
      else {
        assert.equal(status, MORE);
        break;
      }
    }
  }
  return { body, rest: "", trailers: "", status: "more" };
}

test("a body of a known length ends there", () => {
  assert.deepEqual(decode(["hello next"], LENGTH, 5), { body: "hello", rest: " next", trailers: "", status: "whole" });
  assert.equal(decode(["hel"], LENGTH, 5).status, "more");
  assert.deepEqual(decode(["next"], NO_BODY), { body: "", rest: "next", trailers: "", status: "whole" });
});

test("a body that ends with the connection never ends before", () => {
  const decoder = new BodyDecoder(DEFAULT_HTTP_LIMITS);
  assert.deepEqual(decode(["a", "", "b"], UNTIL_CLOSE, 0, decoder), {
    body: "ab",
    rest: "",
    trailers: "",
    status: "more",
  });
  assert.equal(decoder.endsWithConnection, true);
});

test("chunks, in any pieces, by one decoder after another body", () => {
  const text = "5\r\nhello\r\n1;x=y\r\n \r\n00a\r\n0123456789\r\n0\r\nEtag: x\r\nSecret: y\r\n\r\nnext";
  const expected = { body: "hello 0123456789", rest: "next", trailers: "Etag: x\r\n", status: "whole" };
  const decoder = new BodyDecoder(DEFAULT_HTTP_LIMITS);
  assert.deepEqual(decode([text], CHUNKED, 0, decoder), expected);
  assert.deepEqual(decode(text.split(""), CHUNKED, 0, decoder), expected);
  for (let at = 1; at < text.length; at += 1) {
    assert.deepEqual(decode([text.slice(0, at), text.slice(at)], CHUNKED, 0, decoder), expected, String(at));
  }
});

test("bounds of chunked bodies", () => {
  const { chunkExtensionBytes, trailerBytes, trailerLines } = DEFAULT_HTTP_LIMITS;
  const extension = `1;${"x".repeat(100)}\r\na\r\n`;
  const allowed = Math.floor(chunkExtensionBytes / 100);
  assert.equal(decode([extension.repeat(allowed), "0\r\n\r\n"], CHUNKED).status, "whole");
  assert.equal(
    decode([extension.repeat(allowed + 1), "0\r\n\r\n"], CHUNKED).status,
    "chunk extensions over their limit",
  );
  assert.equal(decode([`0\r\na: ${"x".repeat(trailerBytes)}\r\n\r\n`], CHUNKED).status, "trailers over their limit");
  assert.equal(decode([`0\r\na: ${"x".repeat(trailerBytes - 5)}\r\n\r\n`], CHUNKED).status, "whole");
  const lines = `0\r\n${"a: b\r\n".repeat(trailerLines)}`;
  assert.equal(decode([`${lines}\r\n`], CHUNKED).status, "whole");
  assert.equal(decode([`${lines}a: b\r\n\r\n`], CHUNKED).status, "trailer: more field lines than allowed");
  assert.equal(decode(["ffffffffffff\r\nabc"], CHUNKED).body, "abc");
  assert.equal(decode(["1000000000000\r\n"], CHUNKED).status, "chunk size of too many digits");
});
