import assert from "node:assert/strict";
import { test } from "node:test";
import { contentTypeIn, grpcContentType } from "./content-type.ts";

test("content types of gRPC, in any case and with parameters", () => {
  const table: readonly (readonly [string, string, string])[] = [
    ["application/grpc", "grpc", ""],
    ["application/grpc+proto", "grpc", "+proto"],
    ["Application/GRPC+json ; charset=utf-8", "grpc", "+json"],
    ["application/grpc;x=1", "grpc", ""],
    ["application/grpc-web", "web", ""],
    ["application/grpc-web+proto", "web", "+proto"],
    ["application/grpc-web-text", "web-text", ""],
    ["application/grpc-web-text+thrift", "web-text", "+thrift"],
  ];
  for (const [value, form, encoding] of table) assert.deepEqual(grpcContentType(value), { form, encoding }, value);
});

test("what only looks like one is none", () => {
  const others = ["", "application/grpcx", "application/grpc-webx", "application/grpc-web-textual", "application/json"];
  for (const value of [
    ...others,
    " application/grpc",
    "text/application/grpc",
    "application/grpc+",
    "application/grpc/x",
  ])
    assert.equal(grpcContentType(value), undefined, value);
});

test("the same messages in another form", () => {
  assert.equal(contentTypeIn("grpc", "+proto"), "application/grpc+proto");
  assert.equal(contentTypeIn("web", ""), "application/grpc-web");
  assert.equal(contentTypeIn("web-text", "+json"), "application/grpc-web-text+json");
});
