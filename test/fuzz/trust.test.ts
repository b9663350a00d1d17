// What says whom to trust, mutated: revocation lists as DER and PEM, and documents of bundle endpoints. Whatever comes, the answer is
// a value or a failure, and a list never has entries that it did not have.
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  array,
  assert as check,
  constantFrom,
  json,
  nat,
  oneof,
  property,
  record,
  uint8Array,
  type Arbitrary,
} from "fast-check";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { revocationListFromDer } from "@culvert/shared/identity/trust/crl.ts";
import { revocationListsFromFile } from "@culvert/shared/identity/trust/revocations.ts";
import { bundleDocumentFrom } from "@culvert/shared/identity/trust/spiffe-bundle.ts";
import { bundleDocument } from "../support/bundle-endpoint.ts";
import { testAuthority } from "../support/ca.ts";
import { crlPem, mintCrl, rawExtension } from "../support/crl.ts";

const RUNS = { numRuns: 3_000 };
const authority = await testAuthority("ours.test");
const reason = rawExtension("2.5.29.21", false, [0x0a, 0x01, 0x01]);
const lists = [
  await mintCrl(authority.root),
  await mintCrl(authority.intermediate, { serials: ["05", "1234", "00ff00ff"], entryExtensions: [reason] }),
  await mintCrl(authority.root, { serials: ["7f"], number: undefined }),
];

/** Bytes that are set, dropped or put in between; mostly such that tags and lengths become wrong. */
const mutation = record({
  at: nat(),
  drop: nat(3),
  insert: uint8Array({ maxLength: 3 }),
  set: oneof(constantFrom(0x00, 0x01, 0x02, 0x1f, 0x30, 0x7f, 0x80, 0x81, 0x84, 0xa0, 0xff), nat(255)),
});

function mutated(valid: readonly Buffer[]): Arbitrary<Buffer> {
  return record({ start: constantFrom(...valid), mutations: array(mutation, { maxLength: 4 }) }).map(
    ({ start, mutations }) => {
      let bytes: Buffer = Buffer.from(start);
      for (const { at, drop, insert, set } of mutations) {
        const place = bytes.length === 0 ? 0 : at % bytes.length;
        bytes = Buffer.concat([bytes.subarray(0, place), insert, bytes.subarray(place + drop)]);
        if (place < bytes.length) bytes[place] = set;
      }
      return bytes;
    },
  );
}

test("revocation lists", () => {
  check(
    property(mutated(lists), (der) => {
      const list = revocationListFromDer(der);
      if (isFailure(list)) assert.match(list.detail, /^revocation list: /);
      else assert.ok(list.serials.size <= 3);
    }),
    RUNS,
  );
});

test("files of revocation lists", () => {
  const files = [...lists, Buffer.from(crlPem(...lists)), Buffer.from(`x\n${crlPem(...lists.slice(1))}y`)];
  check(
    property(mutated(files), (bytes) => {
      const read = revocationListsFromFile(bytes, "lists.pem");
      if (isFailure(read)) assert.match(read.detail, /^lists\.pem: /);
      else assert.ok(read.length <= 3);
    }),
    RUNS,
  );
});

test("documents of bundle endpoints", () => {
  const documents = [bundleDocument([authority]), bundleDocument([authority, authority], {}), bundleDocument([])];
  const bytes = mutated(documents.map((text) => Buffer.from(text))).map((buffer) => buffer.toString("utf8"));
  check(
    property(oneof(bytes, json()), (text) => {
      const document = bundleDocumentFrom(authority.trustDomain, text);
      if (isFailure(document)) assert.match(document.detail, /^bundle of ours\.test: /);
      else assert.ok((document.bundle?.roots.length ?? 0) <= 2);
    }),
    RUNS,
  );
});
