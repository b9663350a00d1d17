import assert from "node:assert/strict";
import { KeyObject, X509Certificate } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { revocationListsFromFile } from "@culvert/shared/identity/trust/revocations.ts";
import { hasSigned } from "@culvert/shared/identity/trust/revoked.ts";
import { testAuthority } from "@culvert/test/support/ca.ts";
import type { KeyKind } from "@culvert/test/support/ca.ts";
import { command } from "@culvert/test/support/env.ts";
import { must } from "@culvert/test/support/must.ts";
import { needs } from "@culvert/test/support/needs.ts";
import { run } from "@culvert/test/support/process.ts";
import { entriesOf, signRevocationList } from "./crl.ts";
import type { RevocationListSpec, RevokedEntry } from "./crl.ts";
import type { CertificateAndKey } from "./certificate.ts";

const NOW = Math.floor(Date.now() / 1000) * 1000;
const HOUR_MS = 3_600_000;
const entries: readonly RevokedEntry[] = [
  { serial: "A1", revokedAt: NOW - HOUR_MS, reason: "keyCompromise" },
  { serial: "FF00112233445566778899AABBCCDDEE", revokedAt: NOW, reason: "unspecified" },
  { serial: "7", revokedAt: NOW, reason: "privilegeWithdrawn" },
];
const spec: RevocationListSpec = { number: 0xff_0102_0304, thisUpdate: NOW, nextUpdate: NOW + HOUR_MS, entries };

async function issuerOf(key: KeyKind): Promise<CertificateAndKey> {
  const { intermediate } = await testAuthority("cluster.local", { key });
  const keyPem = KeyObject.from(intermediate.keys.privateKey).export({ type: "pkcs8", format: "pem" });
  return { certificatePem: intermediate.certificate.toString("pem"), keyPem };
}

for (const key of ["P-256", "P-384", "RSA-2048", "Ed25519"] as const satisfies readonly KeyKind[]) {
  test(`a list by a key of kind ${key} is one that the data plane takes`, async () => {
    const issuer = await issuerOf(key);
    const [list, ...others] = must(revocationListsFromFile(Buffer.from(signRevocationList(issuer, spec)), "crl.pem"));
    assert(list !== undefined && others.length === 0);
    assert.deepEqual([...list.serials], ["a1", "ff00112233445566778899aabbccddee", "07"]);
    assert.equal(list.number, BigInt(spec.number));
    assert.deepEqual([list.thisUpdate, list.nextUpdate], [NOW, NOW + HOUR_MS]);
    assert.equal(hasSigned(new X509Certificate(issuer.certificatePem), list), true);
    assert.equal(hasSigned(new X509Certificate((await issuerOf(key)).certificatePem), list), false);
  });
}

test("an empty list is one too", async () => {
  const text = signRevocationList(await issuerOf("P-256"), { ...spec, entries: [] });
  assert.equal(must(revocationListsFromFile(Buffer.from(text), "crl.pem"))[0]?.serials.size, 0);
});

test("its entries can be read again, with times and reasons", async () => {
  const text = signRevocationList(await issuerOf("P-256"), spec);
  const der = Buffer.from(text.replaceAll(/-----.*-----|\s/g, ""), "base64");
  const read = must(await entriesOf(der));
  assert.deepEqual(
    read.map(({ serial, revokedAt, reason }) => ({ serial: serial.replace(/^0+/, ""), revokedAt, reason })),
    entries,
  );
});

test("OpenSSL takes it", needs({ commands: ["openssl"] }), async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "culvert-crl-"));
  t.after(() => rm(folder, { recursive: true }));
  const issuer = await issuerOf("P-256");
  await writeFile(join(folder, "ca.pem"), issuer.certificatePem);
  await writeFile(join(folder, "crl.pem"), signRevocationList(issuer, spec));
  const args = ["crl", "-in", join(folder, "crl.pem"), "-CAfile", join(folder, "ca.pem"), "-noout", "-text"];
  const { stdout, stderr } = await run(command("openssl"), args);
  assert.match(stderr, /verify OK/);
  assert.match(stdout, /Version 2/);
  assert.match(stdout, /Serial Number: A1\n.*\n.*\n.*Reason Code: \n\s+Key Compromise/);
});
