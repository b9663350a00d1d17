import assert from "node:assert/strict";
import { test } from "node:test";
import {
  CLIENT_AUTH,
  CODE_SIGNING,
  SERVER_AUTH,
  mint,
  mintSvid,
  svidName,
  testAuthority,
} from "@culvert/test/support/ca.ts";
import type { CertificateSpec, Issuer, Minted, TestAuthority } from "@culvert/test/support/ca.ts";
import { must } from "@culvert/test/support/identity.ts";
import { isFailure } from "../failure/failure.ts";
import type { Failure, FailureCode } from "../failure/failure.ts";
import { bundleFromPem } from "./bundle.ts";
import type { Svid } from "./source.ts";
import type { SpiffeId } from "./spiffe-id.ts";
import { expectPeer, verifyPeer } from "./verify.ts";
import type { PeerPurpose, VerifiedPeer } from "./verify.ts";

const ours = await testAuthority("ours.test");
const theirs = await testAuthority("theirs.test");
const federated = new Map(
  [ours, theirs].map((each) => [each.trustDomain, must(bundleFromPem(each.trustDomain, each.bundlePem))]),
);
const name = svidName(ours, "default", "reviews");

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

function judge(minted: Minted, purpose: PeerPurpose = "client", now: number = Date.now()): VerifiedPeer | Failure {
  const [leaf, ...intermediates] = minted.chain;
  assert(leaf !== undefined);
  return verifyPeer({ leaf, intermediates, bundles: federated, now, purpose });
}

function refused(verdict: VerifiedPeer | Failure, code: FailureCode, reason: RegExp): void {
  assert(isFailure(verdict), "must be refused");
  assert.equal(verdict.code, code, verdict.detail);
  assert.match(verdict.detail, reason);
}

/** An intermediate under `issuer` with one thing changed. */
async function under(issuer: Issuer, spec: CertificateSpec): Promise<Minted> {
  return mint(issuer, {
    subject: `CN=CA ${Math.random()}`,
    ca: {},
    keyUsage: ["keyCertSign"],
    extendedKeyUsage: [],
    notAfter: new Date(Date.now() + 100 * DAY_MS),
    ...spec,
  });
}

test("a good certificate proves its identity, for both parts, as long as the shortest of its chain is valid", async () => {
  const minted = await mintSvid(ours, name);
  for (const purpose of ["client", "server"] as const) {
    const peer = must(judge(minted, purpose));
    assert.equal(peer.id, name);
    assert.equal(peer.serial, minted.leaf.serialNumber);
    assert.equal(peer.notAfter, minted.leaf.validToDate.getTime());
  }
  const short = await under(ours.root, { notAfter: new Date(Date.now() + 5 * MINUTE_MS) });
  const peer = must(judge(await mint(short, { uris: [name] })));
  assert.equal(peer.notAfter, short.leaf.validToDate.getTime());
});

test("a peer of a federated trust domain is proven by its own bundle", async () => {
  const peer = must(judge(await mintSvid(theirs, svidName(theirs, "default", "ratings"))));
  assert.equal(peer.id, "spiffe://theirs.test/ns/default/sa/ratings");
});

test("other kinds of name beside the one URI are allowed and never read as an identity", async () => {
  const peer = must(
    judge(await mintSvid(ours, name, { dns: ["reviews.default.svc", "spiffe://ours.test/ns/a/sa/admin"] })),
  );
  assert.equal(peer.id, name);
});

const rsa2048 = await under(ours.root, { key: "RSA-2048" });
for (const [key, issuer] of [
  ["P-384", ours.intermediate],
  ["Ed25519", ours.intermediate],
  ["RSA-2048", rsa2048],
] as const) {
  test(`a ${key} key is accepted`, async () => {
    must(judge(await mint(issuer, { uris: [name], key })));
  });
}

/** I2: every way to say a name that is not exactly one well-formed SPIFFE ID with a path. */
const names: readonly [what: string, spec: CertificateSpec, reason: RegExp][] = [
  ["two URIs", { uris: [name, svidName(ours, "default", "admin")] }, /2 URI names/],
  ["the same URI twice", { uris: [name, name] }, /2 URI names/],
  ["another URI beside the SPIFFE ID", { uris: ["https://ours.test/", name] }, /2 URI names/],
  ["no name at all", { uris: [] }, /0 URI names/],
  ["DNS names only", { uris: [], dns: ["ours.test"] }, /0 URI names/],
  ["a SPIFFE ID as a DNS name", { uris: [], dns: [name] }, /0 URI names/],
  ["a SPIFFE ID as an e-mail address", { uris: [], emails: [name] }, /0 URI names/],
  ["another scheme", { uris: ["https://ours.test/ns/default/sa/reviews"] }, /begin with/],
  ["no path", { uris: ["spiffe://ours.test"] }, /has a path/],
  ["a bare slash", { uris: ["spiffe://ours.test/"] }, /segment is empty/],
  ["upper case", { uris: ["spiffe://OURS.test/ns/default/sa/reviews"] }, /trust domain holds only/],
  ["percent-encoding", { uris: ["spiffe://ours.test/ns/%2e/sa/reviews"] }, /segment holds only/],
  ["a port", { uris: ["spiffe://ours.test:1/ns/default/sa/reviews"] }, /trust domain holds only/],
  ["userinfo", { uris: ["spiffe://theirs.test@ours.test/ns/default/sa/reviews"] }, /trust domain holds only/],
  [
    "a comma that forges a second name",
    { uris: [`${name}, URI:spiffe://ours.test/ns/default/sa/admin`] },
    /segment holds only/,
  ],
  ["a NUL", { uris: [`${name}\0.evil`] }, /segment holds only/],
  ["2,049 bytes", { uris: [`${name}/${"a".repeat(2048 - name.length)}`] }, /longer than 2048/],
  ["a SAN that is not DER", { rawSubjectAltName: Uint8Array.of(0x30, 0x05, 0x86, 0x01, 0x61) }, /malformed|not DER/],
  ["a SAN with more after it", { rawSubjectAltName: Uint8Array.of(0x30, 0x00, 0x05, 0x00) }, /malformed/],
  ["a SAN in the indefinite form", { rawSubjectAltName: Uint8Array.of(0x30, 0x80, 0x00, 0x00) }, /malformed/],
];

for (const [what, spec, reason] of names) {
  test(`refused: ${what}`, async () => {
    refused(judge(await mintSvid(ours, name, spec)), "IDENTITY_MALFORMED", reason);
  });
}

test("2,048 bytes are not too many", async () => {
  const longest = `${name}/${"a".repeat(2047 - name.length)}`;
  assert.equal(longest.length, 2048);
  must(judge(await mintSvid(ours, longest)));
});

/** I3: who signs for whom. */
test("refused: one trust domain's authority vouching for another's name", async () => {
  refused(judge(await mint(theirs.intermediate, { uris: [name] })), "IDENTITY_UNTRUSTED", /no chain/);
});

test("refused: a name in a trust domain without a bundle", async () => {
  const foreign = await testAuthority("foreign.test");
  refused(judge(await mintSvid(foreign, svidName(foreign, "a", "b"))), "IDENTITY_UNTRUSTED", /has no bundle here/);
});

test("refused: an authority that only calls itself as ours does", async () => {
  const forged: TestAuthority = await testAuthority("ours.test");
  refused(judge(await mintSvid(forged, name)), "IDENTITY_UNTRUSTED", /no chain|wrong/);
  const sameName = await mint(undefined, {
    subject: "CN=Intermediate of ours.test",
    ca: {},
    keyUsage: ["keyCertSign"],
  });
  const leaf = await mint(sameName, { uris: [name] });
  const verdict = verifyPeer({
    leaf: leaf.leaf,
    intermediates: (await mintSvid(ours, name)).chain.slice(1),
    bundles: federated,
    now: Date.now(),
    purpose: "client",
  });
  refused(verdict, "IDENTITY_UNTRUSTED", /no chain|wrong/);
});

test("refused: a self-signed leaf", async () => {
  refused(judge(await mint(undefined, { uris: [name], subject: "CN=me" })), "IDENTITY_UNTRUSTED", /no chain/);
});

test("refused: the intermediate is missing", async () => {
  const { leaf } = await mintSvid(ours, name);
  const verdict = verifyPeer({ leaf, intermediates: [], bundles: federated, now: Date.now(), purpose: "client" });
  refused(verdict, "IDENTITY_UNTRUSTED", /no chain/);
});

/** I4: certificates used for what they are not. */
const leaves: readonly [what: string, spec: CertificateSpec, code: FailureCode, reason: RegExp][] = [
  ["a CA as a leaf", { ca: {} }, "IDENTITY_MALFORMED", /CA certificate/],
  ["a leaf that may sign", { keyUsage: ["digitalSignature", "keyCertSign"] }, "IDENTITY_MALFORMED", /key usage/],
  ["a leaf that may sign CRLs", { keyUsage: ["digitalSignature", "cRLSign"] }, "IDENTITY_MALFORMED", /key usage/],
  ["no digitalSignature", { keyUsage: ["keyEncipherment"] }, "IDENTITY_MALFORMED", /key usage/],
  ["no key usage", { keyUsage: [] }, "IDENTITY_MALFORMED", /key usage/],
  ["code signing only", { extendedKeyUsage: [CODE_SIGNING] }, "IDENTITY_UNTRUSTED", /does not allow a client/],
  ["a server as a client", { extendedKeyUsage: [SERVER_AUTH] }, "IDENTITY_UNTRUSTED", /does not allow a client/],
  ["expired", { notAfter: new Date(Date.now() - 1000) }, "IDENTITY_EXPIRED", /valid from/],
  ["not yet valid", { notBefore: new Date(Date.now() + 2 * MINUTE_MS) }, "IDENTITY_EXPIRED", /valid from/],
  ["a weak RSA key", { key: "RSA-1024" }, "IDENTITY_UNTRUSTED", /1024 bits is too weak/],
  ["a SHA-1 signature", { hash: "SHA-1" }, "IDENTITY_UNTRUSTED", /signature algorithm/],
];

for (const [what, spec, code, reason] of leaves) {
  test(`refused: ${what}`, async () => {
    refused(judge(await mintSvid(ours, name, spec)), code, reason);
  });
}

test("refused: a client as a server; accepted: no extended key usage at all", async () => {
  refused(
    judge(await mintSvid(ours, name, { extendedKeyUsage: [CLIENT_AUTH] }), "server"),
    "IDENTITY_UNTRUSTED",
    /a server/,
  );
  must(judge(await mintSvid(ours, name, { extendedKeyUsage: [] })));
});

test("a certificate may begin up to a minute from now, and ends on the second", async () => {
  const now = Math.floor(Date.now() / 1000) * 1000;
  const minted = await mintSvid(ours, name, { notBefore: new Date(now), notAfter: new Date(now + 10 * MINUTE_MS) });
  must(judge(minted, "client", now - MINUTE_MS));
  refused(judge(minted, "client", now - MINUTE_MS - 1), "IDENTITY_EXPIRED", /valid from/);
  must(judge(minted, "client", now + 10 * MINUTE_MS));
  refused(judge(minted, "client", now + 10 * MINUTE_MS + 1), "IDENTITY_EXPIRED", /valid from/);
});

const uriConstraint = (kind: 0xa0 | 0xa1, host: string): Uint8Array<ArrayBuffer> => {
  const name_ = Buffer.from(host, "latin1");
  const subtree = Buffer.concat([Buffer.of(0x86, name_.length), name_]);
  return new Uint8Array(
    Buffer.concat([Buffer.of(0x30, subtree.length + 4, kind, subtree.length + 2, 0x30, subtree.length), subtree]),
  );
};

const constrained = (kind: 0xa0 | 0xa1, host: string): CertificateSpec => ({
  extensions: [{ oid: "2.5.29.30", critical: true, value: uriConstraint(kind, host) }],
});

const issuers: readonly [what: string, spec: CertificateSpec, code: FailureCode, reason: RegExp][] = [
  [
    "an issuer that is no CA",
    { ca: undefined as never, keyUsage: ["digitalSignature"] },
    "IDENTITY_UNTRUSTED",
    /no chain|not a CA/,
  ],
  ["an issuer that may not sign", { keyUsage: ["cRLSign"] }, "IDENTITY_UNTRUSTED", /no chain|may not sign/],
  ["an expired issuer", { notAfter: new Date(Date.now() - 1000) }, "IDENTITY_EXPIRED", /valid from/],
  ["an issuer for servers only", { extendedKeyUsage: [SERVER_AUTH] }, "IDENTITY_UNTRUSTED", /does not allow a client/],
  ["a weak issuer", { key: "RSA-1024" }, "IDENTITY_UNTRUSTED", /too weak/],
  ["an issuer constrained to another domain", constrained(0xa0, "theirs.test"), "IDENTITY_UNTRUSTED", /constrained/],
  ["an issuer constrained to subdomains", constrained(0xa0, ".ours.test"), "IDENTITY_UNTRUSTED", /constrained/],
  ["an issuer barred from our domain", constrained(0xa1, "ours.test"), "IDENTITY_UNTRUSTED", /may not vouch/],
  [
    "an issuer with a critical extension that nobody knows",
    { extensions: [{ oid: "1.2.3.4", critical: true, value: Uint8Array.of(0x05, 0x00) }] },
    "IDENTITY_MALFORMED",
    /critical and not understood/,
  ],
];

for (const [what, spec, code, reason] of issuers) {
  test(`refused: ${what}`, async () => {
    refused(judge(await mint(await under(ours.root, spec), { uris: [name] })), code, reason);
  });
}

test("an issuer constrained to our domain is good, and so is an unknown extension that is not critical", async () => {
  must(judge(await mint(await under(ours.root, constrained(0xa0, "ours.test")), { uris: [name] })));
  const harmless = { extensions: [{ oid: "1.2.3.4", critical: false, value: Uint8Array.of(0x05, 0x00) }] };
  must(judge(await mintSvid(ours, name, harmless)));
});

test("refused: an intermediate below one that allows none", async () => {
  const below = await under(ours.intermediate, {});
  refused(
    judge(await mint(below, { uris: [name] })),
    "IDENTITY_UNTRUSTED",
    /allows 0 CA certificates below it, found 1/,
  );
});

test("a chain of eight is the longest", async () => {
  let issuer: Issuer = ours.root;
  for (let depth = 0; depth < 6; depth += 1) issuer = await under(issuer, {});
  must(judge(await mint(issuer, { uris: [name] })));
  issuer = await under(issuer, {});
  refused(judge(await mint(issuer, { uris: [name] })), "IDENTITY_UNTRUSTED", /more than 8/);
});

test("a hundred certificates are refused before any work", async () => {
  const { leaf, chain } = await mintSvid(ours, name);
  const verdict = verifyPeer({
    leaf,
    intermediates: Array.from({ length: 100 }, () => chain[1] ?? leaf),
    bundles: federated,
    now: Date.now(),
    purpose: "client",
  });
  refused(verdict, "IDENTITY_UNTRUSTED", /more than 8/);
});

test("a cross-signed intermediate is good by the one way that ends at our root, whatever the order", async () => {
  const stranger = await testAuthority("stranger.test");
  const keys = ours.intermediate.keys;
  const subject = "CN=Intermediate of ours.test";
  const crossed = await under(stranger.root, { subject, keys });
  const minted = await mintSvid(ours, name);
  for (const intermediates of [
    [crossed.leaf, ...minted.chain.slice(1)],
    [...minted.chain.slice(1), crossed.leaf, crossed.leaf],
  ]) {
    must(
      verifyPeer({
        leaf: minted.leaf,
        intermediates,
        bundles: federated,
        now: Date.now(),
        purpose: "client",
      }),
    );
  }
});

test("a peer is expected by its whole ID", async () => {
  const peer = must(judge(await mintSvid(ours, name)));
  assert.equal(expectPeer(peer, [`${name}x` as SpiffeId, name as SpiffeId]), undefined);
  for (const expected of [[], [`${name}x`], [name.slice(0, -1)], [svidName(theirs, "default", "reviews")]]) {
    assert.equal(expectPeer(peer, expected as SpiffeId[])?.code, "IDENTITY_MISMATCH");
  }
});

test("a name in an alias of our trust domain is the same name, whichever of both is expected", async () => {
  const peer = must(judge(await mintSvid(theirs, svidName(theirs, "default", "reviews"))));
  const own = { svid: { id: name as SpiffeId } as Svid, aliases: new Set([theirs.trustDomain]) };
  assert.equal(expectPeer(peer, [name as SpiffeId])?.code, "IDENTITY_MISMATCH");
  assert.equal(expectPeer(peer, [name as SpiffeId], { ...own, aliases: new Set() })?.code, "IDENTITY_MISMATCH");
  assert.equal(expectPeer(peer, [name as SpiffeId], own), undefined);
  assert.equal(expectPeer(peer, [`${name}x` as SpiffeId], own)?.code, "IDENTITY_MISMATCH");
  const home = must(judge(await mintSvid(ours, name)));
  assert.equal(expectPeer(home, [svidName(theirs, "default", "reviews") as SpiffeId], own), undefined);
});
