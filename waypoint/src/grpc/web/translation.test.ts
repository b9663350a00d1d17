import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { CHUNKED, LENGTH, NO_BODY, type BodyKind } from "../../http/body-kind.ts";
import type { ResponseHead } from "../../http/message.ts";
import { trailerFrame } from "./trailer-frame.ts";
import { WebTranslation } from "./translation.ts";

const WEB = { form: "web", encoding: "+proto" } as const;
const TEXT = { form: "web-text", encoding: "" } as const;

function head(fields: string, body: ResponseHead["body"] = CHUNKED, status = 200): ResponseHead {
  return { status, body, reason: undefined, keptFields: () => fields };
}

/** Two messages as they lie in a body. */
const BODY = Buffer.from([0, 0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0, 0]);

test("the request becomes plain gRPC", () => {
  const fields = "x-grpc-web: 1\r\nContent-Type: application/grpc-web+proto\r\ncontent-length: 13\r\nx: y\r\n";
  const web = new WebTranslation(WEB);
  const message = { fields, body: LENGTH as BodyKind, takesTrailers: false };
  web.request(message);
  const sent = "x-grpc-web: 1\r\nx: y\r\ncontent-type: application/grpc+proto\r\n";
  assert.deepEqual(message, { fields: sent, body: CHUNKED, takesTrailers: true });
  const empty = { fields: "", body: NO_BODY as BodyKind, takesTrailers: false };
  web.request(empty);
  assert.equal(empty.body, NO_BODY);
  assert.equal(web.takesBytes, true);
  assert.equal(web.end(), undefined);
});

test("the response becomes gRPC-Web, with the trailers at the end of the body", () => {
  const web = new WebTranslation(WEB);
  const sent = web.responseHead(head("content-type: application/grpc+proto\r\ncontent-length: 1\r\nx: y\r\n", LENGTH));
  assert.equal(sent.body, CHUNKED);
  assert.equal(sent.keptFields(), "x: y\r\ncontent-type: application/grpc-web+proto\r\n");
  assert.equal(web.givesBytes, true);
  const lines = "grpc-status: 5\r\ngrpc-message: no%20\r\n";
  const frame = web.trailers("Grpc-Status: 5\r\ngrpc-message: no%20\r\n");
  assert.deepEqual(frame, Buffer.concat([Buffer.from([0x80, 0, 0, 0, lines.length]), Buffer.from(lines)]));
});

test("a status in the head stays there", () => {
  const web = new WebTranslation(WEB);
  const fields = "content-type: application/grpc\r\ngrpc-status: 12\r\n";
  const sent = web.responseHead(head(fields, NO_BODY));
  assert.equal(sent.body, NO_BODY);
  assert.equal(sent.keptFields(), "grpc-status: 12\r\ncontent-type: application/grpc-web\r\ncontent-length: 0\r\n");
  assert.equal(web.trailers(""), undefined);
});

test("a response without trailers gets none", () => {
  const web = new WebTranslation(WEB);
  web.responseHead(head("content-type: application/grpc\r\n"));
  assert.equal(web.trailers(""), undefined);
});

test("what is none of gRPC's goes on as it is", () => {
  for (const fields of ["content-type: text/html\r\n", "", "x-content-type: application/grpc\r\n"]) {
    const web = new WebTranslation(TEXT);
    const page = head(fields, LENGTH, 503);
    assert.equal(web.responseHead(page), page);
    assert.equal(web.givesBytes, true);
    assert.equal(web.trailers("x: 1\r\n"), undefined);
  }
});

test("text: the request at every cut", () => {
  const text = Buffer.from(
    Buffer.from(BODY.subarray(0, 8)).toString("base64") + Buffer.from(BODY.subarray(8)).toString("base64"),
  );
  for (let at = 0; at <= text.length; at += 1) {
    const web = new WebTranslation(TEXT);
    const parts = [web.decode(text, 0, at), web.decode(text, at, text.length)];
    assert.deepEqual(Buffer.concat(parts.map((part) => (isFailure(part) ? Buffer.from("failure") : part))), BODY);
    assert.equal(web.end(), undefined);
  }
});

test("text: the response at every cut can be read piece by piece, and as one", () => {
  const trailers = "grpc-status: 0\r\n";
  const whole = Buffer.concat([BODY, trailerFrame(trailers)]);
  for (let at = 0; at <= BODY.length; at += 1) {
    const web = new WebTranslation(TEXT);
    const sent = web.responseHead(head("content-type: application/grpc\r\n"));
    assert.equal(sent.keptFields(), "content-type: application/grpc-web-text\r\n");
    assert.equal(web.givesBytes, false);
    const pieces = [web.encode(BODY, 0, at), web.encode(BODY, at, BODY.length), web.trailers(trailers) ?? BODY];
    assert.deepEqual(Buffer.concat(pieces.map((piece) => Buffer.from(piece.toString(), "base64"))), whole);
    for (const piece of pieces) assert.equal(piece.length % 4, 0);
  }
});

test("text that is no base64, or not whole", () => {
  const web = new WebTranslation(TEXT);
  assert.ok(isFailure(web.decode(Buffer.from("AA\r\n"), 0, 4)));
  const short = new WebTranslation(TEXT);
  short.decode(Buffer.from("AAA"), 0, 3);
  assert.equal(short.end()?.code, "REQUEST_MALFORMED");
});
