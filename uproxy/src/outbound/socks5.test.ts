import assert from "node:assert/strict";
import { test } from "node:test";
import { fail, isFailure } from "@culvert/shared/failure/failure.ts";
import { readGreeting, readSocksRequest, socksReply } from "./socks5.ts";

const NAME = [...Buffer.from("Reviews.default", "latin1")];

const accepted: readonly [string, readonly number[], unknown][] = [
  ["an IPv4 address", [5, 1, 0, 1, 10, 0, 0, 5, 0x1f, 0x90], { kind: "ip", ip: "10.0.0.5", port: 8080 }],
  [
    "an IPv6 address",
    [5, 1, 0, 4, 0xfd, ...Array.from({ length: 14 }, () => 0), 1, 0, 80],
    { kind: "ip", ip: "fd00::1", port: 80 },
  ],
  [
    "an IPv4 address in IPv6 clothes",
    [5, 1, 0, 4, ...Array.from({ length: 10 }, () => 0), 0xff, 0xff, 127, 0, 0, 1, 0, 80],
    { kind: "ip", ip: "127.0.0.1", port: 80 },
  ],
  ["a name", [5, 1, 0, 3, NAME.length, ...NAME, 0, 80], { kind: "name", host: "reviews.default", port: 80 }],
];

for (const [name, bytes, destination] of accepted) {
  test(`reads a request for ${name}, however it is split, and nothing beyond it`, () => {
    for (let length = 0; length < bytes.length; length += 1) {
      assert.equal(readSocksRequest(Buffer.from(bytes.slice(0, length))), undefined, `${length} bytes`);
    }
    assert.deepEqual(readSocksRequest(Buffer.from([...bytes, 1, 2, 3])), {
      value: destination,
      consumed: bytes.length,
    });
  });
}

const refused: readonly [string, readonly number[], string][] = [
  ["SOCKS4", [4, 1, 0, 1, 10, 0, 0, 5, 0, 80], "PROXY_REQUEST_MALFORMED"],
  ["BIND", [5, 2, 0, 1, 10, 0, 0, 5, 0, 80], "METHOD_REFUSED"],
  ["an unknown address type", [5, 1, 0, 9, 10, 0, 0, 5, 0, 80], "PROXY_REQUEST_MALFORMED"],
  ["port 0", [5, 1, 0, 1, 10, 0, 0, 5, 0, 0], "PROXY_REQUEST_MALFORMED"],
  ["a name with a NUL", [5, 1, 0, 3, 3, 97, 0, 98, 0, 80], "PROXY_REQUEST_MALFORMED"],
  ["an empty name", [5, 1, 0, 3, 0, 0, 80], "PROXY_REQUEST_MALFORMED"],
];

for (const [name, bytes, code] of refused) {
  test(`refuses ${name}`, () => {
    const read = readSocksRequest(Buffer.from(bytes));
    assert.equal(isFailure(read) && read.code, code);
  });
}

test("a greeting must offer to go without authentication", () => {
  assert.equal(readGreeting(Buffer.from([5])), undefined);
  assert.equal(readGreeting(Buffer.from([5, 2, 2])), undefined);
  assert.deepEqual(readGreeting(Buffer.from([5, 2, 2, 0, 9])), { value: true, consumed: 4 });
  assert.deepEqual(readGreeting(Buffer.from([5, 1, 2])), { value: false, consumed: 3 });
});

test("refusals keep apart what a client can act on", () => {
  const codes = ["PEER_DENIED", "APP_REFUSED", "NO_HEALTHY_UPSTREAM", "PEER_TIMEOUT", "INTERNAL"] as const;
  assert.deepEqual(
    codes.map((code) => socksReply(fail(code, ""))[1]),
    [2, 5, 4, 6, 1],
  );
  assert.equal(socksReply(undefined)[1], 0);
});
