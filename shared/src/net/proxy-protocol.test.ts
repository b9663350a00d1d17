// PROXY protocol v2: headers as the specification and HAProxy write them, and everything that is none.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as fc from "fast-check";
import { isFailure } from "../failure/failure.ts";
import { crc32c } from "./crc32c.ts";
import type { Endpoint } from "./endpoint.ts";
import { parseIp } from "./ip.ts";
import { FIELD_SPIFFE_ID, MAX_PROXY_HEADER, readProxyHeader, writeProxyHeader } from "./proxy-protocol.ts";

const SIGNATURE = "0d0a0d0a000d0a515549540a";

function bytes(...hex: readonly string[]): Buffer {
  return Buffer.from(hex.join("").replaceAll(" ", ""), "hex");
}

function at(address: string, port: number): Endpoint {
  const ip = parseIp(address);
  assert.ok(ip !== undefined);
  return { ip, port };
}

/** What was refused, by its detail; the detail `none` when nothing was. */
function refusal(header: Buffer): string {
  const read = readProxyHeader(header);
  if (!isFailure(read)) return "none";
  assert.equal(read.code, "PROXY_HEADER_MALFORMED");
  return read.detail;
}

const GOOD: readonly (readonly [name: string, header: Buffer, source: Endpoint | undefined])[] = [
  ["TCP over IPv4", bytes(SIGNATURE, "2111000c 0a000001 0a000002 1267 0050"), at("10.0.0.1", 4711)],
  [
    "TCP over IPv6",
    bytes(SIGNATURE, "21210024", "fd000000000000000000000000000001", "fd000000000000000000000000000002", "1267 0050"),
    at("fd00::1", 4711),
  ],
  [
    "IPv4 mapped into IPv6",
    bytes(SIGNATURE, "21210024", "00000000000000000000ffff0a000001", "fd000000000000000000000000000002", "1267 0050"),
    at("10.0.0.1", 4711),
  ],
  ["a client without an address", bytes(SIGNATURE, "21000000"), undefined],
  ["a client whose port is not known", bytes(SIGNATURE, "2111000c 0a000001 0a000002 0000 0050"), undefined],
  ["a client of a UNIX socket", Buffer.concat([bytes(SIGNATURE, "213100d8"), Buffer.alloc(216)]), undefined],
  ["LOCAL, without anything", bytes(SIGNATURE, "20000000"), undefined],
  ["LOCAL, whose content is passed over", bytes(SIGNATURE, "20110003 ffffff"), undefined],
];

for (const [name, header, source] of GOOD) {
  test(`read: ${name}`, () => {
    const read = readProxyHeader(Buffer.concat([header, Buffer.from("GET / HTTP/1.1")]));
    assert.ok(read !== undefined && !isFailure(read));
    assert.deepEqual(read.source, source);
    assert.equal(read.consumed, header.length);
    for (let length = 0; length < header.length; length += 1) {
      assert.equal(readProxyHeader(header.subarray(0, length)), undefined, `whole after ${length} bytes`);
    }
  });
}

const BAD: readonly (readonly [name: string, header: Buffer, detail: RegExp])[] = [
  ["version 1", Buffer.from("PROXY TCP4 10.0.0.1 10.0.0.2 4711 80\r\n"), /^version 1, expected version 2$/],
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\n"), /does not begin with one/],
  ["one wrong byte", Buffer.from("\r\n\r\n\0\r\nQUIT\r"), /does not begin with one/],
  ["a first byte", Buffer.from("P"), /does not begin with one/],
  ["version 3", bytes(SIGNATURE, "31110000"), /version and command 0x31/],
  ["a command of none", bytes(SIGNATURE, "22110000"), /version and command 0x22/],
  ["UDP", bytes(SIGNATURE, "2112000c 0a000001 0a000002 1267 0050"), /address family and protocol 0x12/],
  ["a family of none", bytes(SIGNATURE, "2141000c 0a000001 0a000002 1267 0050"), /address family and protocol 0x41/],
  ["addresses that are missing", bytes(SIGNATURE, "2111000b 0a000001 0a000002 1267 00"), /too short/],
  ["more than may come", bytes(SIGNATURE, "2111ffff"), /65551 bytes, expected at most 4096/],
  ["a field without length", bytes(SIGNATURE, "2100 0002 0400"), /a field runs over the end/],
  ["a field that is too long", bytes(SIGNATURE, "2100 0004 04 0002 00"), /a field runs over the end/],
  ["a checksum that is too short", bytes(SIGNATURE, "2100 0006 03 0003 000000"), /one CRC-32C of 4 bytes/],
  ["a checksum of another header", bytes(SIGNATURE, "2100 0007 03 0004 01020304"), /CRC-32C does not hold/],
];

for (const [name, header, detail] of BAD) test(`refused: ${name}`, () => assert.match(refusal(header), detail));

test("a checksum that holds is taken, and two are not", () => {
  const header = bytes(SIGNATURE, "2111 0013 0a000001 0a000002 1267 0050 03 0004 00000000");
  header.writeUInt32BE(crc32c(header), header.length - 4);
  const read = readProxyHeader(header);
  assert.ok(read !== undefined && !isFailure(read));
  assert.deepEqual(read.source, at("10.0.0.1", 4711));
  assert.match(refusal(bytes(SIGNATURE, "2100 000e 03 0004 00000000 03 0004 00000000")), /one CRC-32C/);
});

test("a byte changed anywhere under a checksum is seen, or ends in a header of another kind", () => {
  const header = bytes(SIGNATURE, "2111 0013 0a000001 0a000002 1267 0050 03 0004 00000000");
  header.writeUInt32BE(crc32c(header), header.length - 4);
  for (let index = 16; index < header.length; index += 1) {
    const damaged = Buffer.from(header);
    damaged[index] = (damaged[index] ?? 0) ^ 0x10;
    const read = readProxyHeader(damaged);
    // A changed type makes the checksum an unknown field, which says nothing.
    if (index === 28) assert.ok(!isFailure(read));
    else assert.ok(isFailure(read), `byte ${index}`);
  }
});

const octets = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });
const anyIp = fc.oneof(
  octets(4).map((four) => four.join(".")),
  octets(16).map((all) => (Buffer.from(all).toString("hex").match(/.{4}/g) ?? []).join(":")),
);
const anyEnd = fc.tuple(anyIp, fc.integer({ min: 1, max: 65_535 })).map(([ip, port]) => at(ip, port));
const anyField = fc
  .tuple(fc.integer({ min: 0xe0, max: 0xef }), fc.uint8Array({ maxLength: 300 }))
  .map(([type, value]) => ({ type, value: Buffer.from(value) }));

test("what is written is read again, whatever the families and fields", () => {
  fc.assert(
    fc.property(anyEnd, anyEnd, fc.array(anyField, { maxLength: 8 }), (source, destination, fields) => {
      const header = writeProxyHeader(source, destination, fields);
      const read = readProxyHeader(header);
      assert.ok(read !== undefined && !isFailure(read));
      assert.deepEqual(read.source, source);
      assert.equal(read.consumed, header.length);
      assert.deepEqual(
        read.fields.map(({ type, value }) => ({ type, value: Buffer.from(value) })),
        fields,
      );
    }),
  );
});

test("any bytes are read, refused or waited for, and never beyond the bound", () => {
  const afterSignature = fc.uint8Array({ maxLength: 80 }).map((rest) => Buffer.concat([bytes(SIGNATURE), rest]));
  fc.assert(
    fc.property(
      fc.oneof(
        afterSignature,
        fc.uint8Array({ maxLength: 80 }).map((all) => Buffer.from(all)),
      ),
      (input) => {
        const read = readProxyHeader(input);
        if (read === undefined) assert.ok(input.length < MAX_PROXY_HEADER);
        else if (!isFailure(read)) assert.ok(read.consumed <= input.length);
      },
    ),
  );
});

test("the form on the wire: what HAProxy and ztunnel would send", () => {
  const id = Buffer.from("spiffe://a/ns/b/sa/c");
  const header = writeProxyHeader(at("10.0.0.1", 4711), at("10.0.0.2", 80), [{ type: FIELD_SPIFFE_ID, value: id }]);
  assert.equal(header.toString("hex"), `${SIGNATURE}211100230a0000010a00000212670050d00014${id.toString("hex")}`);
});
