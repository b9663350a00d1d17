import assert from "node:assert/strict";
import type { X509Certificate } from "node:crypto";
import { test } from "node:test";
import { mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import { must } from "@culvert/test/support/identity.ts";
import { isFailure } from "../failure/failure.ts";
import { EXTENDED_KEY_USAGE, fieldsOf } from "./certificate-fields.ts";

const authority = await testAuthority("ours.test");
const name = svidName(authority, "default", "reviews");
const { leaf, chain } = await mintSvid(authority, name, { dns: ["reviews"] });

test("a leaf's extensions", () => {
  assert.deepEqual(must(fieldsOf(leaf)), {
    uris: [name],
    isCa: false,
    pathLength: undefined,
    keyUsage: { digitalSignature: true, certSign: false, crlSign: false },
    extendedKeyUsage: [EXTENDED_KEY_USAGE.server, EXTENDED_KEY_USAGE.client],
    permittedHosts: undefined,
    excludedHosts: [],
  });
});

test("a CA's extensions", () => {
  const [, intermediate] = chain;
  assert(intermediate !== undefined);
  const fields = must(fieldsOf(intermediate));
  assert.equal(fields.isCa, true);
  assert.equal(fields.pathLength, 0);
  assert.deepEqual(fields.keyUsage, { digitalSignature: false, certSign: true, crlSign: true });
  assert.equal(fields.extendedKeyUsage, undefined);
});

test("an extension that comes twice is refused", async () => {
  const twice = { oid: "2.5.29.15", critical: true, value: Uint8Array.of(0x03, 0x02, 0x07, 0x80) };
  const failure = fieldsOf((await mintSvid(authority, name, { extensions: [twice] })).leaf);
  assert(isFailure(failure));
  assert.match(failure.detail, /comes twice/);
});

test("a certificate larger than any honest one is refused unread", async () => {
  const bulk = { oid: "1.2.3.4", critical: false, value: new Uint8Array(20_000) };
  const failure = fieldsOf((await mintSvid(authority, name, { extensions: [bulk] })).leaf);
  assert(isFailure(failure));
  assert.match(failure.detail, /larger than/);
});

/** Reads bytes as a certificate; whatever they are, no name may be longer than the true one. */
function readAnyway(bytes: Buffer): void {
  const fields = fieldsOf({ raw: bytes } as X509Certificate);
  if (!isFailure(fields)) assert(fields.uris.every((uri) => uri.length <= name.length));
}

test("no single wrong byte, and no cut, makes it throw or invent a name", () => {
  const { raw } = leaf;
  for (let at = 0; at < raw.length; at += 1) {
    readAnyway(raw.subarray(0, at));
    for (const flip of [0x01, 0x80, 0xff]) {
      const bytes = Buffer.from(raw);
      bytes[at] = (bytes[at] ?? 0) ^ flip;
      readAnyway(bytes);
    }
  }
});
