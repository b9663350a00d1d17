import assert from "node:assert/strict";
import { test } from "node:test";
import { mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import { bundleDocument } from "@culvert/test/support/bundle-endpoint.ts";
import { must } from "@culvert/test/support/identity.ts";
import { isFailure } from "../../failure/failure.ts";
import { bundleDocumentFrom } from "./spiffe-bundle.ts";

const theirs = await testAuthority("theirs.test");
const next = await testAuthority("theirs.test");
const leaf = await mintSvid(theirs, svidName(theirs, "default", "a"));

test("a document has roots, a sequence number and a refresh hint; other keys are ignored", () => {
  const text = bundleDocument([theirs, next], { spiffe_sequence: 12, spiffe_refresh_hint: 300, further: {} });
  const withMore = JSON.parse(text) as { keys: unknown[] };
  withMore.keys.push({ use: "jwt-svid", kty: "EC", kid: "a" }, { kty: "EC" }, { use: "x509-svid" }, "odd", null);
  const document = must(bundleDocumentFrom(theirs.trustDomain, JSON.stringify(withMore)));
  assert.equal(document.bundle?.roots.length, 2);
  assert.equal(document.bundle.trustDomain, "theirs.test");
  assert.equal(document.sequence, 12);
  assert.equal(document.refreshMs, 300_000);
});

test("a document without roots takes all of them back; numbers may be missing", () => {
  for (const text of [bundleDocument([], {}), JSON.stringify({ keys: [{ use: "jwt-svid", kty: "EC" }] })]) {
    const document = must(bundleDocumentFrom(theirs.trustDomain, text));
    assert.deepEqual(document, { bundle: undefined, sequence: undefined, refreshMs: undefined });
  }
  assert.equal(
    must(bundleDocumentFrom(theirs.trustDomain, bundleDocument([], { spiffe_refresh_hint: 0 }))).refreshMs,
    undefined,
  );
});

const key = (x5c: unknown): string => JSON.stringify({ keys: [{ use: "x509-svid", kty: "EC", x5c }] });
const base64 = Buffer.from(theirs.root.certificate.rawData).toString("base64");

for (const [what, text, reason] of [
  ["no JSON", "<html>", /not JSON/],
  ["no object", "[]", /no list `keys`/],
  ["no keys", "{}", /no list `keys`/],
  ["a key without certificate", key(undefined), /keys\[0\].x5c must hold exactly one/],
  ["a key with two certificates", key([base64, base64]), /exactly one/],
  ["a certificate that is not base64", key(["-----BEGIN"]), /in base64/],
  ["a certificate that is none", key(["AAAA"]), /not a row of DER/],
  ["a leaf", key([leaf.leaf.raw.toString("base64")]), /not a CA certificate/],
  [
    "a sequence that is no number",
    bundleDocument([theirs], { spiffe_sequence: "1" }),
    /spiffe_sequence is no whole number/,
  ],
  [
    "a hint below zero",
    bundleDocument([theirs], { spiffe_refresh_hint: -1 }),
    /spiffe_refresh_hint is no whole number/,
  ],
  ["257 keys", JSON.stringify({ keys: Array.from({ length: 257 }, () => ({})) }), /more than 256 keys/],
] as const) {
  test(`refused: ${what}`, () => {
    const document = bundleDocumentFrom(theirs.trustDomain, text);
    assert(isFailure(document));
    assert.equal(document.code, "IDENTITY_MALFORMED");
    assert.match(document.detail, reason);
    assert.match(document.detail, /^bundle of theirs.test/);
  });
}
