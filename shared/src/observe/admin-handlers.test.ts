import assert from "node:assert/strict";
import { it } from "node:test";
import { testAuthority } from "@culvert/test/support/ca.ts";
import { mintCrl } from "@culvert/test/support/crl.ts";
import { must, staticSource, testIdentity } from "@culvert/test/support/identity.ts";
import { makeIdentity } from "../identity/identity.ts";
import { revocationListFromDer } from "../identity/trust/crl.ts";
import { certificatesHandler } from "./admin-handlers.ts";

it("shows the certificate chain and the roots of each trust domain, never the key", async () => {
  const authority = await testAuthority("cluster.local");
  const identity = await testIdentity(authority, "default", "reviews");
  const { state } = staticSource(identity);
  const { status, body } = await certificatesHandler(() => ({ identity, state })).handle(new URLSearchParams());
  assert.equal(status, 200);
  const text = JSON.stringify(body);
  const shown = JSON.parse(text) as {
    identity: string;
    expirationTime: string;
    certChain: { serialNumber: string; subjectAltName: string; pem: string }[];
    trustDomains: { trustDomain: string; rootCerts: unknown[] }[];
  };
  assert.equal(shown.identity, "spiffe://cluster.local/ns/default/sa/reviews");
  assert.equal(Date.parse(shown.expirationTime), identity.svid.notAfter);
  assert.equal(shown.certChain[0]?.subjectAltName, "URI:spiffe://cluster.local/ns/default/sa/reviews");
  assert.match(shown.certChain[0]?.pem ?? "", /^-----BEGIN CERTIFICATE-----/);
  assert.deepEqual(
    shown.trustDomains.map((one) => [one.trustDomain, one.rootCerts.length]),
    [["cluster.local", 1]],
  );
  assert.doesNotMatch(text, /PRIVATE/);
  assert(!text.includes(identity.svid.keyPem.split("\n")[1] ?? "no key"));
});

it("shows aliases and revocation lists, the lists by what they are and not by their entries", async () => {
  const authority = await testAuthority("cluster.local");
  const plain = await testIdentity(authority, "default", "reviews");
  const nextUpdate = new Date("2030-01-01T00:00:00Z");
  const list = must(
    revocationListFromDer(await mintCrl(authority.root, { serials: ["05", "06"], number: 7, nextUpdate })),
  );
  const trust = { revocations: new Map([[list.issuer, [list]]]), aliases: new Set([authority.trustDomain]) };
  const identity = must(makeIdentity(plain.svid, plain.bundles, trust));
  const { state } = staticSource(identity);
  const { body } = await certificatesHandler(() => ({ identity, state })).handle(new URLSearchParams());
  const shown = JSON.parse(JSON.stringify(body)) as {
    trustDomainAliases: string[];
    revocationLists: { number: string; nextUpdate: string; revoked: number }[];
  };
  assert.deepEqual(shown.trustDomainAliases, ["cluster.local"]);
  const [first] = shown.revocationLists;
  assert.deepEqual([first?.number, first?.nextUpdate, first?.revoked], ["7", nextUpdate.toISOString(), 2]);
});

it("says so while there is no identity", async () => {
  assert.equal((await certificatesHandler(() => undefined).handle(new URLSearchParams())).status, 503);
});
