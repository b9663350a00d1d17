import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure, type Failure } from "@culvert/shared/failure/failure.ts";
import { CAPTURED, extension, helloMessage, inRecords, serverName, vector } from "./client-hello-fixtures.ts";
import { ClientHelloReader, MOST_HELLO_BYTES, type ClientHello } from "./client-hello.ts";

function read(bytes: Buffer): ClientHello | Failure | undefined {
  return new ClientHelloReader().read(bytes);
}

function nameIn(bytes: Buffer): string | undefined {
  const hello = read(bytes);
  assert.ok(hello !== undefined && !isFailure(hello), JSON.stringify(hello));
  return hello.serverName;
}

for (const { client, serverName: expected, bytes } of CAPTURED) {
  test(`the server name in a ClientHello: ${client}`, () => {
    assert.equal(nameIn(bytes), expected ?? undefined);
    assert.equal(nameIn(Buffer.concat([bytes, Buffer.from("behind it")])), expected ?? undefined);
  });

  test(`in pieces of a byte, and in records of any length: ${client}`, () => {
    const reader = new ClientHelloReader();
    for (let length = 0; length < bytes.length; length += 1) {
      assert.equal(reader.read(bytes.subarray(0, length)), undefined, `${length} bytes`);
    }
    assert.deepEqual(reader.read(bytes), { serverName: expected ?? undefined });
    const message = bytes.subarray(5);
    for (let most = 1; most < message.length; most += 1) {
      const records = inRecords(message, most);
      if (records.length <= MOST_HELLO_BYTES)
        assert.equal(nameIn(records), expected ?? undefined, `records of ${most}`);
    }
  });
}

test("split at every byte, in records of 100 bytes, nothing is decided too early or otherwise", () => {
  const records = inRecords(helloMessage(), 100);
  for (let cut = 0; cut < records.length; cut += 1) {
    const reader = new ClientHelloReader();
    assert.equal(reader.read(records.subarray(0, cut)), undefined);
    assert.deepEqual(reader.read(records), { serverName: "shop.example.com" });
  }
});

test("a ClientHello without extensions, or with others alone, names no server", () => {
  for (const extensions of [undefined, [], [extension(0x0a0a, Buffer.alloc(0))]]) {
    assert.equal(nameIn(inRecords(helloMessage({ extensions }))), undefined);
  }
});

const list = (...names: readonly string[]): Buffer =>
  extension(
    0,
    vector(2, Buffer.concat(names.map((name) => Buffer.concat([Buffer.from([0]), vector(2, Buffer.from(name))])))),
  );

const REFUSED: readonly (readonly [string, Buffer, RegExp])[] = [
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\n"), /type 71/],
  ["an alert", Buffer.from([0x15, 3, 3, 0, 2, 1, 0]), /type 21/],
  ["SSL 2", Buffer.from([0x80, 0x2e, 1, 3, 1]), /type 128/],
  ["another major version", Buffer.from([0x16, 2]), /version 2/],
  ["an empty record", Buffer.from([0x16, 3, 1, 0, 0]), /record of 0 bytes/],
  ["a record over its limit", Buffer.from([0x16, 3, 1, 0x40, 1]), /record of 16385 bytes/],
  ["a ServerHello", inRecords(Buffer.concat([Buffer.from([2]), vector(3, Buffer.alloc(40))])), /message of type 2/],
  ["a message over its limit", inRecords(Buffer.from([1, 1, 0, 0, 3, 3])), /longer than/],
  [
    "records over the limit",
    inRecords(Buffer.concat([Buffer.from([1, 0, 0xff, 0xff]), Buffer.alloc(64_000)]), 9),
    /longer/,
  ],
  ["two messages in a record", inRecords(Buffer.concat([helloMessage(), Buffer.from([1])])), /behind the ClientHello/],
  [
    "another record in between",
    Buffer.concat([inRecords(helloMessage().subarray(0, 50)), Buffer.from([0x17])]),
    /type 23/,
  ],
  ["a body that is no version", inRecords(helloMessage({ version: 0x0200 })), /version 512/],
  ["a long session id", inRecords(helloMessage({ sessionId: Buffer.alloc(33) })), /session id/],
  ["no suites", inRecords(helloMessage({ suites: Buffer.alloc(0) })), /0 bytes of cipher suites/],
  ["half a suite", inRecords(helloMessage({ suites: Buffer.alloc(3) })), /3 bytes of cipher suites/],
  ["no compression", inRecords(helloMessage({ compressions: Buffer.alloc(0) })), /compression/],
  ["bytes behind the extensions", inRecords(helloMessage({ tail: Buffer.from([0]) })), /do not add up/],
  [
    "half an extension",
    inRecords(helloMessage({ extensions: [Buffer.from([0, 0, 0, 9, 0])] })),
    /extensions do not add up/,
  ],
  ["the name twice", inRecords(helloMessage({ extensions: [serverName("a.b"), serverName("a.b")] })), /twice/],
  ["two names", inRecords(helloMessage({ extensions: [list("a.example", "b.example")] })), /not one host name/],
  ["no name in the list", inRecords(helloMessage({ extensions: [list()] })), /not one host name/],
  ["a name of another type", inRecords(helloMessage({ extensions: [serverName("a.b", 1)] })), /not one host name/],
  ...[
    "",
    ".",
    "a..b",
    "a.b.",
    "-a.b",
    "192.0.2.1",
    "::1",
    "a\0b",
    "a b",
    "\xe9.example",
    "*.example",
    "x".repeat(64),
  ].map(
    (name) =>
      [
        `the name ${JSON.stringify(name)}`,
        inRecords(helloMessage({ extensions: [serverName(name)] })),
        /DNS name/,
      ] as const,
  ),
];

for (const [what, bytes, expected] of REFUSED) {
  test(`refused: ${what}`, () => {
    const hello = read(bytes);
    assert.ok(isFailure(hello) && hello.code === "CLIENT_HELLO_REFUSED", JSON.stringify(hello));
    assert.match(hello.detail, expected);
    // Whatever way it comes, it never was a ClientHello on the way there.
    const reader = new ClientHelloReader();
    for (let length = 0; length < bytes.length; length += 1) {
      const sooner = reader.read(bytes.subarray(0, length));
      if (isFailure(sooner)) return;
      assert.equal(sooner, undefined, `${length} bytes`);
    }
  });
}

test("a ClientHello as large as it may be is read", () => {
  const most = MOST_HELLO_BYTES - 5 * 5 - helloMessage().length - 8;
  const extensions = [serverName("shop.example.com"), extension(21, Buffer.alloc(Math.min(most, 65_000)))];
  assert.equal(nameIn(inRecords(helloMessage({ extensions }))), "shop.example.com");
});
