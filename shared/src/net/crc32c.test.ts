import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "./crc32c.ts";

const KNOWN: readonly (readonly [what: string, bytes: Uint8Array, sum: number])[] = [
  ["nothing", Buffer.alloc(0), 0],
  ["the usual nine digits", Buffer.from("123456789"), 0xe3069283],
  ["32 bytes of zero (RFC 3720 B.4)", Buffer.alloc(32), 0x8a9136aa],
  ["32 bytes of ones (RFC 3720 B.4)", Buffer.alloc(32, 0xff), 0x62a8ab43],
];

for (const [what, bytes, sum] of KNOWN) test(what, () => assert.equal(crc32c(bytes), sum));
