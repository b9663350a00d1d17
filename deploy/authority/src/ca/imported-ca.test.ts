import assert from "node:assert/strict";
import { KeyObject, X509Certificate } from "node:crypto";
import { test } from "node:test";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import { mint, testAuthority } from "@culvert/test/support/ca.ts";
import type { CertificateSpec, Issuer, KeyKind, TestAuthority } from "@culvert/test/support/ca.ts";
import { must, refusal } from "@culvert/test/support/must.ts";
import { importAuthority, mayRevoke, objectionTo } from "./imported-ca.ts";
import type { CaFiles } from "./imported-ca.ts";

const NOW = Date.now();
const places = { certificate: "ca.crt", key: "ca.key", chain: "chain.pem" };

function pem({ certificate }: Issuer): string {
  return `${certificate.toString("pem")}\n`;
}

function keyPem({ keys }: Issuer): string {
  return KeyObject.from(keys.privateKey).export({ type: "pkcs8", format: "pem" });
}

function filesOf(signer: Issuer, ...above: readonly Issuer[]): CaFiles {
  return { certificatePem: pem(signer), keyPem: keyPem(signer), chainPem: above.map(pem).join(""), places };
}

/** What is said to a CA below whose root something is not as it should be. */
async function refusalOf(spec: CertificateSpec): Promise<string> {
  const ca = await testAuthority("cluster.local", spec);
  return refusal(await importAuthority(ca.trustDomain, filesOf(ca.intermediate, ca.root), NOW));
}

for (const key of ["P-256", "P-384", "RSA-2048", "Ed25519"] as const satisfies readonly KeyKind[]) {
  test(`an intermediate with a key of kind ${key} is taken with its root, whose key is not needed`, async () => {
    const ca = await testAuthority("cluster.local", { key });
    const authority = must(await importAuthority(ca.trustDomain, filesOf(ca.intermediate, ca.root), NOW));
    assert.equal(authority.root.keyPem, undefined);
    assert.equal(authority.upperPem, "");
    assert.equal(objectionTo(authority, NOW), undefined);
    assert.equal(mayRevoke(authority), true);
  });
}

test("the chain may have several certificates in any order, in one file or the other", async () => {
  const { trustDomain, root } = await testAuthority("cluster.local");
  const spec = { uris: ["spiffe://cluster.local"], ca: {}, keyUsage: ["keyCertSign", "cRLSign"] } as const;
  const upper = await mint(root, { ...spec, subject: "CN=upper" });
  const lower = await mint(upper, { ...spec, subject: "CN=lower" });
  const files = filesOf(lower, root, upper);
  for (const each of [files, { ...files, certificatePem: pem(lower) + pem(upper) + pem(root), chainPem: "" }]) {
    const authority = must(await importAuthority(trustDomain, each, NOW));
    assert.equal(new X509Certificate(authority.upperPem).subject, "CN=upper");
    assert.equal(new X509Certificate(authority.root.certificatePem).subject, "CN=Root of cluster.local");
  }
});

test("below a self-signed CA an intermediate is made", async () => {
  const { trustDomain, root } = await testAuthority("cluster.local");
  const authority = must(await importAuthority(trustDomain, filesOf(root), NOW));
  assert.notEqual(authority.root.keyPem, undefined);
  assert.equal(new X509Certificate(authority.intermediate.certificatePem).issuer, "CN=Root of cluster.local");
  assert.equal(objectionTo(authority, NOW), undefined);
});

test("what the mesh would refuse is refused here, and named", async () => {
  assert.match(await refusalOf({ ca: undefined } as unknown as CertificateSpec), /ca.crt: it is not a CA certificate/);
  assert.match(await refusalOf({ keyUsage: ["digitalSignature"] }), /ca.crt: it may not sign certificates/);
  assert.match(await refusalOf({ key: "RSA-1024" }), /1024 bits is too weak/);
  assert.match(await refusalOf({ notAfter: new Date(NOW - 1_000) }), /outside its validity: ca.crt: it ends at/);
  assert.match(await refusalOf({ notBefore: new Date(NOW + 3_600_000) }), /outside its validity: ca.crt/);
});

test("a root whose path has no room for the intermediate is refused", async () => {
  const uris = ["spiffe://cluster.local"];
  const { trustDomain } = await testAuthority("cluster.local");
  const spec = { uris, keyUsage: ["keyCertSign"] } as const;
  const root = await mint(undefined, { ...spec, subject: "CN=short", ca: { pathLength: 0 } });
  const below = await mint(root, { ...spec, subject: "CN=below", ca: {} });
  assert.match(
    refusal(await importAuthority(trustDomain, filesOf(below, root), NOW)),
    /allows 0 CA certificates below it, found 1/,
  );
  assert.match(refusal(await importAuthority(trustDomain, filesOf(root), NOW)), /no room for an intermediate/);
});

test("files that do not belong together are refused", async () => {
  const ca: TestAuthority = await testAuthority("cluster.local");
  const other = await testAuthority("cluster.local");
  const good = filesOf(ca.intermediate, ca.root);
  const wrong: readonly [Partial<CaFiles>, RegExp][] = [
    [{ keyPem: keyPem(other.intermediate) }, /ca.key is not the key of ca.crt/],
    [{ keyPem: "-----BEGIN" }, /ca.key is not a private key/],
    [{ certificatePem: "nothing" }, /ca.crt: holds no certificate/],
    [{ chainPem: pem(other.root) }, /does not hold the certificate of "CN=Root of cluster.local"/],
    [{ chainPem: "" }, /does not hold the certificate of/],
  ];
  for (const [part, line] of wrong) {
    const outcome = await importAuthority(ca.trustDomain, { ...good, ...part }, NOW);
    assert(isFailure(outcome));
    assert.match(outcome.detail, line);
  }
});

test("an intermediate that may not sign lists is taken, and known for it", async () => {
  const ca = await testAuthority("cluster.local", { keyUsage: ["keyCertSign", "digitalSignature"] });
  assert.equal(mayRevoke(must(await importAuthority(ca.trustDomain, filesOf(ca.intermediate, ca.root), NOW))), false);
});
