import assert from "node:assert/strict";
import { X509Certificate, createPrivateKey } from "node:crypto";
import { test } from "node:test";
import { bundleFromPem } from "@culvert/shared/identity/bundle.ts";
import { fieldsOf } from "@culvert/shared/identity/certificate-fields.ts";
import { isFailure } from "@culvert/shared/failure/failure.ts";
import type { Failure } from "@culvert/shared/failure/failure.ts";
import { makeIdentity, selfCheck } from "@culvert/shared/identity/identity.ts";
import { parseTrustDomain, workloadId } from "@culvert/shared/identity/spiffe-id.ts";
import { svidFromPem } from "@culvert/shared/identity/svid.ts";
import {
  MAX_SVID_LIFE_MS,
  MIN_SVID_LIFE_MS,
  createAuthority,
  issueSvid,
  renewIntermediate,
} from "./certificate-authority.ts";
import type { IssuedSvid } from "./certificate-authority.ts";

const NOW = Date.UTC(2026, 5, 1, 12, 0, 0, 500);
const SECOND = Math.floor(NOW / 1000) * 1000;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

function must<T>(value: T | Failure): T {
  assert(!isFailure(value), String(value));
  return value;
}

const trustDomain = must(parseTrustDomain("ours.test"));
const id = must(workloadId(trustDomain, "default", "reviews"));
const authority = await createAuthority(trustDomain, NOW);
const root = new X509Certificate(authority.root.certificatePem);
const intermediate = new X509Certificate(authority.intermediate.certificatePem);

/** What a peer that trusts this authority would object to. */
function objection(svid: IssuedSvid, now: number): Failure | undefined {
  const bundle = must(bundleFromPem(trustDomain, svid.bundlePem));
  return selfCheck(
    must(makeIdentity(must(svidFromPem(svid.svidPem, svid.keyPem)), new Map([[trustDomain, bundle]]))),
    now,
  );
}

test("the root signs itself and one CA below, for ten years", () => {
  assert(root.verify(root.publicKey) && root.checkIssued(root));
  const fields = must(fieldsOf(root));
  assert.equal(fields.isCa, true);
  assert.equal(fields.pathLength, 1);
  assert.deepEqual(fields.uris, ["spiffe://ours.test"]);
  assert.deepEqual(fields.keyUsage, { digitalSignature: false, certSign: true, crlSign: true });
  assert.equal(root.validFromDate.getTime(), SECOND - 60_000);
  assert.equal(root.validToDate.getTime(), SECOND + 3650 * DAY_MS);
});

test("the intermediate is signed by the root, has no CA below, and lives for a year", () => {
  assert(intermediate.verify(root.publicKey) && intermediate.checkIssued(root));
  const fields = must(fieldsOf(intermediate));
  assert.equal(fields.isCa, true);
  assert.equal(fields.pathLength, 0);
  assert.equal(intermediate.validToDate.getTime(), SECOND + 365 * DAY_MS);
});

test("an SVID: empty subject, one critical URI, P-256, backdated by a minute, random serial", async () => {
  const svid = must(issueSvid(authority, id, HOUR_MS, NOW));
  const leaf = new X509Certificate(svid.svidPem);
  assert.equal(leaf.subject ?? "", "");
  const fields = must(fieldsOf(leaf));
  assert.deepEqual(fields.uris, [id]);
  assert.equal(fields.isCa, false);
  assert.deepEqual(fields.keyUsage, { digitalSignature: true, certSign: false, crlSign: false });
  assert.equal(fields.extendedKeyUsage?.length, 2);
  assert.equal(leaf.publicKey.asymmetricKeyDetails?.namedCurve, "prime256v1");
  assert.equal(leaf.validFromDate.getTime(), SECOND - 60_000);
  assert.equal(leaf.validToDate.getTime(), SECOND + HOUR_MS);
  assert.equal(svid.notAfter, SECOND + HOUR_MS);
  assert(leaf.checkPrivateKey(createPrivateKey(svid.keyPem)));
  // OID of subjectAltName, then BOOLEAN TRUE: an empty subject demands it (RFC 5280 section 4.2.1.6).
  assert(leaf.raw.includes(Buffer.from("0603551d110101ff", "hex")));
  assert.equal(objection(svid, NOW), undefined);
  assert.equal(objection(svid, SECOND + HOUR_MS + 1)?.code, "IDENTITY_EXPIRED");
  const again = must(issueSvid(authority, id, HOUR_MS, NOW));
  const serials = new Set([leaf, new X509Certificate(again.svidPem)].map((each) => each.serialNumber));
  assert.equal(serials.size, 2);
  assert.notEqual(again.keyPem, svid.keyPem);
});

test("lives from a minute to ninety days, and no others", async () => {
  for (const life of [MIN_SVID_LIFE_MS, MAX_SVID_LIFE_MS]) {
    assert.equal(must(issueSvid(authority, id, life, NOW)).notAfter, SECOND + life);
  }
  for (const life of [0, MIN_SVID_LIFE_MS - 1, MAX_SVID_LIFE_MS + 1, Number.NaN]) {
    assert.throws(() => issueSvid(authority, id, life, NOW), RangeError);
  }
});

test("no SVID for another trust domain, and none that outlives the authority", async () => {
  const foreign = must(workloadId(must(parseTrustDomain("theirs.test")), "default", "reviews"));
  assert(isFailure(issueSvid(authority, foreign, HOUR_MS, NOW)));
  const late = issueSvid(authority, id, 2 * HOUR_MS, intermediate.validToDate.getTime() - HOUR_MS);
  assert(isFailure(late));
  assert.match(late.detail, /the authority ends at 2027-06-01T12:00:00.000Z/);
});

test("the intermediate is renewed in time, under the same name and key, and old SVIDs stay valid", async () => {
  assert.equal(await renewIntermediate(authority, NOW + 200 * DAY_MS), authority);
  const later = NOW + 300 * DAY_MS;
  const old = must(issueSvid(authority, id, 60 * DAY_MS, later));
  const renewed = await renewIntermediate(authority, later);
  assert.notEqual(renewed, authority);
  const certificate = new X509Certificate(renewed.intermediate.certificatePem);
  assert.equal(certificate.subject, intermediate.subject);
  assert.notEqual(certificate.fingerprint256, intermediate.fingerprint256);
  assert.equal(renewed.intermediate.keyPem, authority.intermediate.keyPem);
  const fresh = must(issueSvid(renewed, id, MAX_SVID_LIFE_MS, later));
  assert.equal(objection(fresh, later + 80 * DAY_MS), undefined);
  assert.equal(objection(old, later), undefined);
  const mixed = { ...old, svidPem: new X509Certificate(old.svidPem).toString() + renewed.intermediate.certificatePem };
  assert.equal(objection(mixed, later), undefined);
});

test("a renewed intermediate ends with its root", async () => {
  const late = root.validToDate.getTime() - 30 * DAY_MS;
  const renewed = await renewIntermediate(authority, late);
  assert.equal(new X509Certificate(renewed.intermediate.certificatePem).validTo, root.validTo);
  assert(isFailure(issueSvid(renewed, id, MAX_SVID_LIFE_MS, late)));
});

test("a trust domain of 255 letters fits", async () => {
  const long = must(parseTrustDomain("a".repeat(255)));
  const big = await createAuthority(long, NOW);
  const svid = must(issueSvid(big, must(workloadId(long, "n", "s")), HOUR_MS, NOW));
  assert.equal(new X509Certificate(svid.svidPem).issuer.includes("a".repeat(31)), true);
});
