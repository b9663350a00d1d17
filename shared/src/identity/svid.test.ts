import assert from "node:assert/strict";
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { test } from "node:test";
import { mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import { must } from "@culvert/test/support/identity.ts";
import { isFailure } from "../failure/failure.ts";
import { bundleFromDer, bundleFromPem } from "./bundle.ts";
import { svidFromDer, svidFromPem } from "./svid.ts";

const authority = await testAuthority("ours.test");
const name = svidName(authority, "default", "reviews");
const minted = await mintSvid(authority, name);
const chainDer = Buffer.concat(minted.chain.map((certificate) => certificate.raw));
const keyDer = createPrivateKey(minted.keyPem).export({ type: "pkcs8", format: "der" });

test("PEM and DER say the same", () => {
  const fromPem = must(svidFromPem(minted.chainPem, minted.keyPem));
  const fromDer = must(svidFromDer(chainDer, keyDer));
  assert.equal(fromPem.id, name);
  assert.equal(fromDer.id, name);
  assert.equal(fromDer.chainPem, fromPem.chainPem);
  assert.equal(fromDer.keyPem, fromPem.keyPem);
  assert.equal(fromDer.notBefore, minted.leaf.validFromDate.getTime());
  assert.equal(fromDer.notAfter, minted.leaf.validToDate.getTime());
  const root = authority.root.certificate.rawData;
  const { trustDomain, bundlePem } = authority;
  const bundle = must(bundleFromDer(trustDomain, new Uint8Array(root)));
  assert.equal(bundle.pem, must(bundleFromPem(trustDomain, bundlePem)).pem);
});

test("a key in SEC 1 form is taken, and text around the blocks is skipped", () => {
  const sec1 = createPrivateKey(minted.keyPem).export({ type: "sec1", format: "pem" });
  const svid = must(svidFromPem(`subject=\n\n${minted.chainPem}\ntrailing words\n`, sec1));
  assert.equal(svid.chain.length, 2);
});

const encrypted = createPrivateKey(minted.keyPem).export({
  type: "pkcs8",
  format: "pem",
  cipher: "aes-256-cbc",
  passphrase: "secret",
});
const foreignKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;

const bad: readonly [what: string, result: () => unknown, reason: RegExp][] = [
  ["an encrypted key", () => svidFromPem(minted.chainPem, encrypted), /private key cannot be read \(encrypted/],
  ["a public key", () => svidFromPem(minted.chainPem, minted.chainPem), /private key cannot be read/],
  [
    "another key",
    () => svidFromPem(minted.chainPem, foreignKey.export({ type: "pkcs8", format: "pem" })),
    /not the certificate's/,
  ],
  ["DER cut short", () => svidFromDer(chainDer.subarray(0, -1), keyDer), /not a row of DER certificates/],
  ["DER with more after it", () => svidFromDer(Buffer.concat([chainDer, Buffer.of(0)]), keyDer), /not a row/],
  ["no DER", () => svidFromDer(Buffer.alloc(0), keyDer), /holds no certificate/],
  ["DER that is no certificate", () => svidFromDer(Buffer.of(0x30, 0x00), keyDer), /certificate 1 cannot be read/],
  ["a key that is not DER", () => svidFromDer(chainDer, Buffer.from("key")), /private key cannot be read/],
  ["a thousand certificates", () => svidFromPem(minted.chainPem.repeat(500), minted.keyPem), /more than 64/],
  ["a long chain", () => svidFromPem(minted.chainPem.repeat(4), minted.keyPem), /the chain has 8 parts/],
];
for (const [what, result, reason] of bad) {
  test(`refuses ${what}`, () => {
    const failure = result();
    assert(isFailure(failure));
    assert.equal(failure.code, "IDENTITY_MALFORMED");
    assert.match(failure.detail, reason);
  });
}
