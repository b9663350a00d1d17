import assert from "node:assert/strict";
import { KeyObject, X509Certificate, generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import { fieldsOf } from "@culvert/shared/identity/certificate-fields.ts";
import { makeIdentity, selfCheck } from "@culvert/shared/identity/identity.ts";
import { svidFromPem } from "@culvert/shared/identity/svid.ts";
import { testAuthority } from "@culvert/test/support/ca.ts";
import type { KeyKind, TestAuthority } from "@culvert/test/support/ca.ts";
import { command } from "@culvert/test/support/env.ts";
import { must } from "@culvert/test/support/must.ts";
import { needs } from "@culvert/test/support/needs.ts";
import { run } from "@culvert/test/support/process.ts";
import type { CertificateAndKey } from "./certificate.ts";
import { signLeaf } from "./leaf.ts";

const NOW = Math.floor(Date.now() / 1000) * 1000;
const HOUR_MS = 3_600_000;
const ID = "spiffe://cluster.local/ns/default/sa/reviews";

function issuerOf({ intermediate }: TestAuthority): CertificateAndKey {
  const keyPem = KeyObject.from(intermediate.keys.privateKey).export({ type: "pkcs8", format: "pem" });
  return { certificatePem: intermediate.certificate.toString("pem"), keyPem };
}

function leafOf(issuer: CertificateAndKey, uri = ID, names: readonly string[] = []): { pem: string; keyPem: string } {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const pem = signLeaf(issuer, { uri, names, publicKey, notBefore: NOW - 60_000, notAfter: NOW + HOUR_MS });
  return { pem, keyPem: privateKey.export({ type: "pkcs8", format: "pem" }) };
}

describe("a leaf", () => {
  for (const kind of ["P-256", "P-384", "RSA-2048", "Ed25519"] as const satisfies readonly KeyKind[]) {
    test(`of an authority with a key of kind ${kind} is one that the data plane takes`, async () => {
      const authority = await testAuthority("cluster.local", { key: kind });
      const issuer = issuerOf(authority);
      const { pem, keyPem } = leafOf(issuer);
      const svid = must(svidFromPem(pem + issuer.certificatePem, keyPem));
      assert.equal(svid.id, ID);
      assert.deepEqual([svid.notBefore, svid.notAfter], [NOW - 60_000, NOW + HOUR_MS]);
      const bundles = new Map([
        [authority.trustDomain, must(bundleFromPem(authority.trustDomain, authority.bundlePem))],
      ]);
      assert.equal(selfCheck(must(makeIdentity(svid, bundles)), NOW), undefined);
    });
  }

  test(
    "is believed by OpenSSL, which finds its issuer by key and by name",
    needs({ commands: ["openssl"] }),
    async (t) => {
      const folder = await mkdtemp(join(tmpdir(), "culvert-leaf-"));
      t.after(() => rm(folder, { recursive: true }));
      const authority = await testAuthority("cluster.local");
      const issuer = issuerOf(authority);
      const [root, middle, leaf] = ["root", "middle", "leaf"].map((name) => join(folder, name));
      await writeFile(root ?? "", authority.bundlePem);
      await writeFile(middle ?? "", issuer.certificatePem);
      await writeFile(leaf ?? "", leafOf(issuer, ID, ["authority", "10.0.0.1", "fd00::1"]).pem);
      const verify = ["verify", "-x509_strict", "-CAfile", root ?? "", "-untrusted", middle ?? ""];
      const verdict = await run(command("openssl"), [...verify, "-verify_hostname", "authority", leaf ?? ""]);
      assert.equal(verdict.stdout.trim(), `${leaf}: OK`, verdict.stderr);
      const { stdout } = await run(command("openssl"), ["x509", "-in", leaf ?? "", "-noout", "-text"]);
      assert.match(
        stdout,
        /Subject Alternative Name: critical\s+URI:spiffe.*DNS:authority, IP Address:10.0.0.1, IP Address:FD00/,
      );
      assert.match(stdout, /Key Usage: critical\s+Digital Signature\n/);
      assert.match(stdout, /Basic Constraints: critical\s+CA:FALSE/);
      assert.match(stdout, /TLS Web Server Authentication, TLS Web Client Authentication/);
      const [, subjectKey] = /Subject Key Identifier:\s+([0-9A-F:]+)/.exec(stdout) ?? [];
      const [, authorityKey] = /Authority Key Identifier:\s+(?:keyid:)?([0-9A-F:]+)/.exec(stdout) ?? [];
      assert.equal(subjectKey?.length, 59);
      assert.notEqual(subjectKey, authorityKey);
    },
  );

  test("may have the longest of names, and end after 2050", async () => {
    const issuer = issuerOf(await testAuthority("cluster.local"));
    const long = `spiffe://cluster.local/${"a".repeat(2_025)}`;
    assert.deepEqual(must(fieldsOf(new X509Certificate(leafOf(issuer, long).pem))).uris, [long]);
    const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
    const notAfter = Date.UTC(2051, 0, 1);
    const late = new X509Certificate(signLeaf(issuer, { uri: ID, publicKey, notBefore: NOW, notAfter }));
    assert.equal(late.validToDate.getTime(), notAfter);
    assert(late.publicKey.equals(publicKey));
  });

  test("has a serial number that is positive, random and of 128 bits", async () => {
    const issuer = issuerOf(await testAuthority("cluster.local"));
    const serials = new Set<string>();
    for (let count = 0; count < 300; count += 1) serials.add(new X509Certificate(leafOf(issuer).pem).serialNumber);
    assert.equal(serials.size, 300);
    for (const serial of serials) assert.match(serial, /^(?!-)[0-9A-F]{24,32}$/);
  });
});
