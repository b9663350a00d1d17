import assert from "node:assert/strict";
import { KeyObject, generateKeyPairSync, webcrypto } from "node:crypto";
import { describe, test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { needs } from "@culvert/test/support/needs.ts";
import { command } from "@culvert/test/support/env.ts";
import { run } from "@culvert/test/support/process.ts";
import type * as X509 from "@peculiar/x509";
import { MAX_CSR_BYTES, publicKeyOfCsr } from "./csr.ts";

await import("reflect-metadata");
const x509 = await import("@peculiar/x509");

type Algorithm = webcrypto.EcKeyGenParams | webcrypto.RsaHashedKeyGenParams | "Ed25519";

interface Kind {
  readonly key: Algorithm;
  readonly sign: object;
}

const P256: Kind = { key: { name: "ECDSA", namedCurve: "P-256" }, sign: { name: "ECDSA", hash: "SHA-256" } };
const P384: Kind = { key: { name: "ECDSA", namedCurve: "P-384" }, sign: { name: "ECDSA", hash: "SHA-384" } };
const P521: Kind = { key: { name: "ECDSA", namedCurve: "P-521" }, sign: { name: "ECDSA", hash: "SHA-512" } };
const ED25519: Kind = { key: "Ed25519", sign: { name: "Ed25519" } };
const RSA: Kind = {
  key: { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" },
  sign: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
};

interface Made {
  readonly pem: string;
  readonly der: Buffer;
  readonly publicKey: KeyObject;
}

async function csrOf({ key, sign }: Kind, extensions: X509.Extension[] = [], name = ""): Promise<Made> {
  const keys = (await webcrypto.subtle.generateKey(key, true, ["sign", "verify"])) as webcrypto.CryptoKeyPair;
  const csr = await x509.Pkcs10CertificateRequestGenerator.create(
    { name, keys, signingAlgorithm: sign as never, extensions },
    webcrypto,
  );
  return { pem: csr.toString("pem"), der: Buffer.from(csr.rawData), publicKey: KeyObject.from(keys.publicKey) };
}

function pemOf(der: Uint8Array): string {
  return `-----BEGIN CERTIFICATE REQUEST-----\n${Buffer.from(der).toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
}

function refusal(pem: string): string {
  const outcome = publicKeyOfCsr(pem);
  assert(isFailure(outcome), "it is accepted");
  assert.equal(outcome.code, "CSR_REFUSED");
  return outcome.detail;
}

describe("the key of a request", () => {
  for (const [name, kind] of [
    ["P-256", P256],
    ["P-384", P384],
  ] as const) {
    test(`is taken when it is ${name}`, async () => {
      const { pem, publicKey } = await csrOf(kind);
      const key = publicKeyOfCsr(pem);
      assert(!isFailure(key));
      assert(key.equals(publicKey));
    });
  }

  test("is all that is taken: names and attributes are of no account", async () => {
    const names = new x509.SubjectAlternativeNameExtension([{ type: "url", value: "spiffe://x/ns/a/sa/b" }], true);
    const { pem, publicKey } = await csrOf(P256, [names], "CN=admin, O=system:masters");
    const key = publicKeyOfCsr(pem.replaceAll("CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"));
    assert(!isFailure(key) && key.equals(publicKey));
  });

  test("is refused when it is RSA, Ed25519 or P-521", async () => {
    assert.equal(refusal((await csrOf(RSA)).pem), "expected a key on P-256 or P-384, found rsa");
    assert.equal(refusal((await csrOf(ED25519)).pem), "expected a key on P-256 or P-384, found ed25519");
    assert.equal(refusal((await csrOf(P521)).pem), "expected a key on P-256 or P-384, found a key on secp521r1");
  });

  test("is refused without the proof that it is the sender's", async () => {
    const { der, publicKey } = await csrOf(P256);
    const other = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey;
    const [mine, theirs] = [publicKey, other].map((key) => key.export({ type: "spki", format: "der" }));
    const at = der.indexOf(mine ?? "");
    assert(at > 0);
    der.set(theirs ?? [], at);
    assert.equal(refusal(pemOf(der)), "the signature is not that of its key");
    const broken = (await csrOf(P256)).der;
    broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1;
    assert.match(refusal(pemOf(broken)), /the signature is not that of its key/);
  });

  test("is refused where its point is not on the curve", async () => {
    const { der, publicKey } = await csrOf(P256);
    const spki = publicKey.export({ type: "spki", format: "der" });
    const last = der.indexOf(spki) + spki.length - 1;
    der[last] = (der[last] ?? 0) ^ 1;
    assert.equal(refusal(pemOf(der)), "the public key cannot be read");
  });
});

describe("what is no request", () => {
  test("is refused for its form", async () => {
    const { pem, der } = await csrOf(P256);
    assert.equal(refusal(""), "not one PEM block of type CERTIFICATE REQUEST");
    assert.equal(refusal(pem + pem), "not one PEM block of type CERTIFICATE REQUEST");
    assert.equal(refusal(`${pem}x`), "not one PEM block of type CERTIFICATE REQUEST");
    assert.equal(refusal(pem.replaceAll("REQUEST", "")), "not one PEM block of type CERTIFICATE REQUEST");
    assert.equal(refusal(pemOf(Buffer.concat([der, Buffer.of(0)]))), "not a PKCS #10 request");
    assert.equal(refusal(pemOf(der.subarray(0, -1))), "not a PKCS #10 request");
    assert.equal(refusal(pemOf(Buffer.of())), "not a PKCS #10 request");
    assert.equal(refusal(" ".repeat(MAX_CSR_BYTES) + pem), `larger than ${MAX_CSR_BYTES} bytes`);
  });

  test("is refused wherever it is cut or changed, and throws nothing", async () => {
    const { der } = await csrOf(P256);
    for (let at = 0; at < der.length; at += 1) {
      assert(isFailure(publicKeyOfCsr(pemOf(der.subarray(0, at)))), `cut at ${at}`);
      const changed = Buffer.from(der);
      changed[at] = (changed[at] ?? 0) ^ 0xff;
      assert(isFailure(publicKeyOfCsr(pemOf(changed))), `changed at ${at}`);
    }
  });
});

test("a request of OpenSSL's is taken", needs({ commands: ["openssl"] }), async () => {
  const args = [
    "req",
    "-new",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-nodes",
    "-keyout",
    "/dev/null",
  ];
  const { stdout } = await run(command("openssl"), [
    ...args,
    "-subj",
    "/",
    "-addext",
    "subjectAltName=URI:spiffe://a/b",
  ]);
  assert(!isFailure(publicKeyOfCsr(stdout)), stdout);
});
