import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { helloMessage, inRecords } from "./client-hello-fixtures.ts";
import { protocolReader, serverNameReader } from "./opening.ts";

test("a client that says nothing is taken for one whose server speaks first, soon where nothing asks for more", () => {
  const reader = protocolReader(false);
  assert.ok(reader.waitMs <= 250);
  assert.equal(reader.read(Buffer.alloc(0)), undefined);
  assert.deepEqual(reader.conclude(), { protocol: "opaque", serverName: undefined });
  assert.ok(protocolReader(true).waitMs >= 5_000);
});

test("what is said is told by its first bytes", () => {
  for (const [said, protocol] of [
    [Buffer.from("GET / HTTP/1.1\r\n"), "http1"],
    [Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "http2"],
    [inRecords(helloMessage()), "tls"],
    [Buffer.from("EHLO there\r\n"), "opaque"],
  ] as const) {
    assert.deepEqual(protocolReader(false).read(said), { protocol, serverName: undefined });
  }
});

test("where a name is needed nothing else will do, and not for long", () => {
  const reader = serverNameReader();
  assert.ok(reader.waitMs <= 10_000);
  const hello = inRecords(helloMessage());
  assert.equal(reader.read(hello.subarray(0, 20)), undefined);
  const late = reader.conclude();
  assert.ok(isFailure(late) && late.code === "CLIENT_HELLO_REFUSED");
  assert.deepEqual(reader.read(hello), { protocol: "tls", serverName: "shop.example.com" });
  const plain = serverNameReader().read(Buffer.from("GET / HTTP/1.1\r\n"));
  assert.ok(isFailure(plain) && plain.code === "CLIENT_HELLO_REFUSED");
});
