import assert from "node:assert/strict";
import { test } from "node:test";
import { mint, mintSvid, svidName, testAuthority } from "@culvert/test/support/ca.ts";
import type { Minted } from "@culvert/test/support/ca.ts";
import { crlPem, mintCrl } from "@culvert/test/support/crl.ts";
import { must } from "@culvert/test/support/identity.ts";
import { isFailure } from "../../failure/failure.ts";
import type { Failure } from "../../failure/failure.ts";
import { bundleFromPem } from "../bundle.ts";
import type { Revocations } from "../source.ts";
import { verifyPeer } from "../verify.ts";
import type { VerifiedPeer } from "../verify.ts";
import {
  joinRevocations,
  revocationListsFromDers,
  revocationListsFromFile,
  staleLists,
  takeRevocations,
} from "./revocations.ts";
import type { RevocationsUpdate } from "./revocations.ts";

const ours = await testAuthority("ours.test");
const theirs = await testAuthority("theirs.test");
const bundles = new Map(
  [ours, theirs].map((each) => [each.trustDomain, must(bundleFromPem(each.trustDomain, each.bundlePem))]),
);
const name = svidName(ours, "default", "reviews");
const minted = await mintSvid(ours, name);
const other = await mintSvid(ours, name);

const NONE: Revocations = new Map();
const authorities = [...bundles.values()].flatMap(({ roots }) => roots);

function judge(peer: Minted, revocations: Revocations, intermediates = peer.chain.slice(1)): VerifiedPeer | Failure {
  return verifyPeer({ leaf: peer.leaf, intermediates, bundles, revocations, now: Date.now(), purpose: "client" });
}

function take(before: Revocations, ...ders: readonly Buffer[]): RevocationsUpdate {
  return takeRevocations(before, must(revocationListsFromDers(ders, "test")), [
    ...authorities,
    ...minted.chain.slice(1),
  ]);
}

function hoursAgo(hours: number): Date {
  return new Date(Date.now() - hours * 3_600_000);
}

function codeOf(verdict: VerifiedPeer | Failure): string {
  return isFailure(verdict) ? verdict.code : "good";
}

test("who is on a list of its issuer is refused, who is on none is not", async () => {
  const { revocations, problems } = take(NONE, await mintCrl(ours.intermediate, { revoked: [minted] }));
  assert.deepEqual(problems, []);
  const verdict = judge(minted, revocations);
  assert(isFailure(verdict));
  assert.equal(verdict.code, "IDENTITY_REVOKED");
  assert.match(verdict.detail, new RegExp(minted.leaf.serialNumber));
  assert.equal(codeOf(judge(other, revocations)), "good");
  assert.equal(codeOf(judge(minted, NONE)), "good");
});

test("what a revoked intermediate has signed is refused", async () => {
  const { revocations } = take(NONE, await mintCrl(ours.root, { revoked: [ours.intermediate] }));
  const verdict = judge(minted, revocations);
  assert(isFailure(verdict));
  assert.equal(verdict.code, "IDENTITY_REVOKED");
  assert.match(verdict.detail, /authority "CN=Intermediate of ours.test"/);
});

test("only the issuer's own list counts: serial numbers are unique for one issuer only", async () => {
  const { revocations } = take(
    NONE,
    await mintCrl(theirs.intermediate, { revoked: [minted] }),
    await mintCrl(ours.root, { revoked: [minted] }),
  );
  assert.equal(codeOf(judge(minted, revocations)), "good");
});

test("a list under our issuer's name that somebody else has signed does nothing, whatever its number", async () => {
  const first = take(NONE, await mintCrl(ours.intermediate, { revoked: [minted] }));
  const forged = await mintCrl(ours.intermediate, { revoked: [other], number: 9, keys: theirs.root.keys });
  const second = take(first.revocations, forged);
  assert.match(second.problems[0]?.detail ?? "", /bears the name of an issuer that has not signed it/);
  assert.equal(codeOf(judge(other, second.revocations)), "good");
  assert.equal(codeOf(judge(minted, second.revocations)), "IDENTITY_REVOKED", "the proven one has not given way");
  const third = take(second.revocations, await mintCrl(ours.intermediate, { revoked: [other], number: 10 }));
  assert.deepEqual(
    [minted, other].map((each) => codeOf(judge(each, third.revocations))),
    ["good", "IDENTITY_REVOKED"],
  );
});

for (const [key, hash, counts] of [
  ["P-256", "SHA-256", true],
  ["P-384", "SHA-384", true],
  ["P-384", "SHA-512", true],
  ["RSA-2048", "SHA-256", true],
  ["Ed25519", "SHA-256", true],
  ["P-256", "SHA-1", false],
] as const) {
  test(`a list signed by ${key} with ${hash} ${counts ? "counts" : "does not count"}`, async () => {
    const usage = { ca: {}, keyUsage: ["keyCertSign", "cRLSign"], extendedKeyUsage: [] } as const;
    const issuer = await mint(ours.root, { subject: `CN=${key} ${hash}`, key, ...usage });
    const peer = await mint(issuer, { uris: [name] });
    const { revocations } = take(NONE, await mintCrl(issuer, { revoked: [peer], hash }));
    assert.equal(codeOf(judge(peer, revocations)), counts ? "IDENTITY_REVOKED" : "good");
  });
}

test("an authority that may not sign lists signs none", async () => {
  const mute = await mint(ours.root, {
    subject: "CN=Mute",
    ca: {},
    keyUsage: ["keyCertSign"],
    extendedKeyUsage: [],
  });
  const peer = await mint(mute, { uris: [name] });
  const { revocations } = take(NONE, await mintCrl(mute, { revoked: [peer] }));
  assert.equal(codeOf(judge(peer, revocations)), "good");
});

test("a list of an issuer that comes only with its peer counts from then on", async () => {
  const foreign = await mintSvid(theirs, svidName(theirs, "default", "ratings"));
  const { revocations, problems } = take(NONE, await mintCrl(theirs.intermediate, { revoked: [foreign] }));
  assert.deepEqual(problems, []);
  assert.equal(codeOf(judge(foreign, revocations)), "IDENTITY_REVOKED");
});

test("a list never goes back: not by number, and not by time where there is no number", async () => {
  const second = await mintCrl(ours.intermediate, { revoked: [minted], number: 2 });
  const first = await mintCrl(ours.intermediate, { number: 1 });
  const back = take(take(NONE, second).revocations, first);
  assert.match(back.problems[0]?.detail ?? "", /revocation list 1 .* is older than the one in use, revocation list 2/);
  assert.equal(codeOf(judge(minted, back.revocations)), "IDENTITY_REVOKED");
  const newer = await mintCrl(ours.intermediate, { revoked: [minted], number: undefined, thisUpdate: hoursAgo(1) });
  const older = await mintCrl(ours.intermediate, { number: undefined, thisUpdate: hoursAgo(2) });
  assert.equal(codeOf(judge(minted, take(take(NONE, newer).revocations, older).revocations)), "IDENTITY_REVOKED");
  assert.equal(codeOf(judge(minted, take(take(NONE, older).revocations, newer).revocations)), "IDENTITY_REVOKED");
});

test("a certificate that its issuer takes off the list is good again", async () => {
  const on = take(NONE, await mintCrl(ours.intermediate, { revoked: [minted], number: 1 }));
  const off = take(on.revocations, await mintCrl(ours.intermediate, { number: 2 }));
  assert.equal(codeOf(judge(minted, off.revocations)), "good");
});

test("a stale list stays in force", async () => {
  const der = await mintCrl(ours.intermediate, { revoked: [minted], nextUpdate: new Date(Date.now() - 1000) });
  const { revocations } = take(NONE, der);
  assert.equal(staleLists(revocations, Date.now()).length, 1);
  assert.equal(staleLists(revocations, Date.now() - 60_000).length, 0);
  assert.equal(codeOf(judge(minted, revocations)), "IDENTITY_REVOKED");
});

test("lists of several places count together, each once", async () => {
  const a = take(NONE, await mintCrl(ours.intermediate, { revoked: [minted] })).revocations;
  const b = take(NONE, await mintCrl(ours.intermediate, { revoked: [other], number: 2 })).revocations;
  const joined = joinRevocations(a, NONE, b, a);
  assert.deepEqual(
    [...joined.values()].map((lists) => lists.length),
    [2],
  );
  for (const each of [minted, other]) assert.equal(codeOf(judge(each, joined)), "IDENTITY_REVOKED");
  assert.equal(joinRevocations(NONE, a), a);
});

test("a file holds lists as PEM, or one as DER", async () => {
  const ders = [await mintCrl(ours.intermediate), await mintCrl(ours.root)] as const;
  const pem = Buffer.from(`# lists of ours.test\n${crlPem(...ders)}`);
  assert.equal(must(revocationListsFromFile(pem, "crl.pem")).length, 2);
  assert.equal(must(revocationListsFromFile(ders[0], "crl.der")).length, 1);
  for (const [bytes, reason] of [
    ["", /crl.pem: holds no revocation list/],
    [crlPem(ders[0]).slice(0, -30), /cut short/],
    [crlPem(ders[0]).replace("MI", "M*"), /not base64/],
    ["-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----", /not DER/],
    [crlPem(...Array.from({ length: 65 }, () => ders[0])), /more than 64 lists/],
  ] as const) {
    const lists = revocationListsFromFile(Buffer.from(bytes), "crl.pem");
    assert(isFailure(lists));
    assert.match(lists.detail, reason);
  }
});
